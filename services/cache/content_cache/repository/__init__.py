"""What is stored: entries in a log of segments, purges, and the note of what was in demand."""
