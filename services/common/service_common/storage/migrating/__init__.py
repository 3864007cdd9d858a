"""Copying all documents of a schema from one store to another, and showing that they are the same."""
