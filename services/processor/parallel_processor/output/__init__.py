"""Outputs against their contracts: checked, mended where that loses nothing, else asked for once more."""
