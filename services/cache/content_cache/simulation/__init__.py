"""Replays a trace of requests against the cache's own policies: what each would have hit, and saved."""
