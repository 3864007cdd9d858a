"""Firestore as a backend. `indexes` is pure and needs no client."""
