"""The content cache: generated content kept per tenant, shared between jobs and never generated twice."""
