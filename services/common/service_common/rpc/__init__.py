"""Everything about calls: serving them, making them, and what an error looks like on the wire."""
