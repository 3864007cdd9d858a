"""What may be wrong, each with advice."""
