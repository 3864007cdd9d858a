"""The parallel processor: jobs of content items, run against a model endpoint."""
