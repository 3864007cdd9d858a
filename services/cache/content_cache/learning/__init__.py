"""What is learnt from lookups: what is in demand, and what other limits and policies would give."""
