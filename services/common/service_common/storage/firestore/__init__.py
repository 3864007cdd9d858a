"""Firestore as a backend: needs the extra `firestore`, except for `indexes`, which is pure."""
