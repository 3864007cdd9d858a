"""The built-in templates: one file for each content type, read once at the start."""
