"""Post-processing of finished outputs: coroutines, and blocking functions off the event loop."""
