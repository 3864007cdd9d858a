"""What items succeeded with: immutable, listed by item, content type, quality and time."""
