"""Messages and bytes: keys out of requests, responses out of what is kept, batches request by request."""
