"""How the processor is put together: what it is opened with, what makes pieces, what runs shards."""
