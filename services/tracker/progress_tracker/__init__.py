"""The progress tracker: what happened to every job, in order, once, and watchable while it happens."""
