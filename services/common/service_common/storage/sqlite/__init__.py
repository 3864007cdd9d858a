"""SQLite as a backend: one file, any number of processes on one machine."""
