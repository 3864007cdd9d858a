"""Between memory and the store: written behind, read through, loaded at a start, warmed, purged for good."""
