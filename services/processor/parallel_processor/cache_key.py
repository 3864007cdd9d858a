"""Where a cache key is made: canonical bytes of a request, then their hash; the same in every language.

The derivation is published: protos/README.md, "The cache key", with test vectors beside it.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator

from parallel_processor.model.requests import ModelRequest

_HEADER = b"contentfactory.cache.key/1\n"
_TENANT, _MODEL, _ROLE, _CONTENT, _MAX_TOKENS, _TEMPERATURE, _TOP_P, _SEED, _STOP, _VARIATION = range(1, 11)


def cache_key(tenant: str, request: ModelRequest, *, variation: int) -> str:
    """Return the key under which the answer to a request is cached.

    Args:
        tenant: Whose request it is.
        request: The rendered messages, the model and the sampling parameters.
        variation: Tells several pieces of one prompt apart.

    Returns:
        `k1-` and 64 hexadecimal digits.
    """
    return "k1-" + hashlib.sha256(canonical_bytes(tenant, request, variation=variation)).hexdigest()


def canonical_bytes(tenant: str, request: ModelRequest, *, variation: int) -> bytes:
    """Return the bytes that are hashed: a header, then each field as tag, length and value."""
    fields = _fields(tenant, request, variation)
    return _HEADER + b"".join(struct.pack(">BI", tag, len(value)) + value for tag, value in fields)


def _fields(tenant: str, request: ModelRequest, variation: int) -> Iterator[tuple[int, bytes]]:
    yield _TENANT, tenant.encode()
    yield _MODEL, request.model.encode()
    for message in request.messages:
        yield _ROLE, message.role.encode()
        yield _CONTENT, message.content.encode()
    yield _MAX_TOKENS, struct.pack(">q", request.max_tokens)
    if request.temperature is not None:
        yield _TEMPERATURE, struct.pack(">d", request.temperature)
    if request.top_p is not None:
        yield _TOP_P, struct.pack(">d", request.top_p)
    if request.seed is not None:
        yield _SEED, struct.pack(">q", request.seed)
    for stop in request.stop:
        yield _STOP, stop.encode()
    if variation:
        yield _VARIATION, struct.pack(">q", variation)
