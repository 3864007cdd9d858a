"""What a job is doing, from whoever can tell, and how it looks on a terminal."""
