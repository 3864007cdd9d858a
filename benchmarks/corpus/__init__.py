"""Real generated content, and how it was recorded."""
