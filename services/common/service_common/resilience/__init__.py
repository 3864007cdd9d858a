"""Living with neighbours that fail: pure transitions, with clock and randomness handed in."""
