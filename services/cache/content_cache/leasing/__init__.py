"""Leases on what is missing: who may generate it, who waits, and who refreshes it before it expires."""
