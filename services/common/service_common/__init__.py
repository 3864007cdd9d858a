"""What all four services stand on; it names no product noun."""
