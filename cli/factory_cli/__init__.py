"""The `factory` command: a client of the four contracts like any other."""
