"""Where a cache key is made: canonical bytes of a request, then their hash; the same in every language.

The derivation is published: protos/README.md, "The cache key", with test vectors beside it.
"""

from __future__ import annotations

import hashlib
import struct

from parallel_processor.model.requests import ModelRequest

_FIELD, _NUMBER, _REAL = struct.Struct(">BI"), struct.Struct(">q"), struct.Struct(">d")
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
    parts = [_HEADER]

    def add(tag: int, value: bytes) -> None:
        parts.append(_FIELD.pack(tag, len(value)))
        parts.append(value)

    add(_TENANT, tenant.encode())
    add(_MODEL, request.model.encode())
    for message in request.messages:
        add(_ROLE, message.role.encode())
        add(_CONTENT, message.content.encode())
    add(_MAX_TOKENS, _NUMBER.pack(request.max_tokens))
    if request.temperature is not None:
        add(_TEMPERATURE, _REAL.pack(request.temperature))
    if request.top_p is not None:
        add(_TOP_P, _REAL.pack(request.top_p))
    if request.seed is not None:
        add(_SEED, _NUMBER.pack(request.seed))
    for stop in request.stop:
        add(_STOP, stop.encode())
    if variation:
        add(_VARIATION, _NUMBER.pack(variation))
    return b"".join(parts)
