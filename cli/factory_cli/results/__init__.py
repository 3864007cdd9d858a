"""Finished content, as files and as a summary."""
