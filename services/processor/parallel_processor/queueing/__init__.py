"""The order in which work is done: fair between tenants, by priority and weight among one tenant's jobs."""
