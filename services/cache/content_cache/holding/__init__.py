"""What the cache holds: entries within a limit of bytes, and what finds them."""
