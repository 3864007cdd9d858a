"""Templates and their versions: what they say, which one is active, and how a prompt is rendered from one."""
