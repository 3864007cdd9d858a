"""Moving everything the services have stored from one place to another. Each service copies its own."""
