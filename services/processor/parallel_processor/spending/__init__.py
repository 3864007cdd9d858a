"""Budgets: what may be spent, what is, and what is set aside until it is known."""
