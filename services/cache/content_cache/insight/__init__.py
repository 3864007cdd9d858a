"""Why the statistics are what they are, and what would be better."""
