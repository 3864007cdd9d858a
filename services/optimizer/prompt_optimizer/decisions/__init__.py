"""Decisions: from a request to messages and parameters, and the id that names the choice."""
