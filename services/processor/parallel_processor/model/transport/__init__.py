"""HTTP/1.1 to one origin, no more of it than a model call needs: see `pool.Pool`."""
