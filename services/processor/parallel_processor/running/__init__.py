"""Doing the work: shards are claimed, their items prepared, generated, scored, committed and reported."""
