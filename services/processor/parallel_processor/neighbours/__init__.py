"""The other three services, each behind a class that speaks its contract and answers in our words."""
