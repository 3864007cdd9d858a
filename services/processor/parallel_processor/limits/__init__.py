"""How many calls an endpoint bears, and how many this machine does: learned, never configured."""
