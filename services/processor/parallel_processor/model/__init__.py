"""The model endpoint as the processor sees it: requests, replies, failures, prices, and one client.

Everything but `client` is plain Python and knows no transport.
"""
