"""Entries kept smaller than they are sent: packed in the background, with dictionaries where they pay."""
