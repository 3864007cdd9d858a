"""Jobs, items, shards and results: values and state transitions, without I/O."""
