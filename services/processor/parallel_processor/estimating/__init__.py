"""What a job will cost and how long it will take, said before it is run, from what earlier calls took."""
