"""zstd over the bodies of entries: what is packed comes back to the byte, or is recognised as damaged.

Every frame says how large its content is, which is checked against a limit before anything is unpacked, and
carries a checksum of it.
"""

from __future__ import annotations

from typing import Final

from zstandard import (
    ZstdCompressionDict,
    ZstdCompressor,
    ZstdDecompressor,
    ZstdError,
    frame_content_size,
)

from content_cache.compression.body import restore, strip
from content_cache.compression.dictionary import Dictionary

MAX_BODY_BYTES: Final = 2 * 1024 * 1024
"""Most bytes anything is unpacked to: the largest value with all its labels and facts fits."""

_LEAST_SAVED: Final = 8
"""What does not become an eighth smaller is kept as it came: unpacking it would not pay."""


class UnpackError(Exception):
    """What was packed does not come back.

    Attributes:
        cause: `damaged` or `too_large`.
    """

    def __init__(self, cause: str) -> None:
        super().__init__(cause)
        self.cause = cause


class Compressor:
    """Packs, with one dictionary or none; not for two threads at once."""

    __slots__ = ("_zstd",)

    def __init__(self, level: int, dictionary: Dictionary | None = None) -> None:
        prepared = None
        if dictionary is not None:
            prepared = ZstdCompressionDict(dictionary.content)
            prepared.precompute_compress(level=level)
        self._zstd = ZstdCompressor(level=level, dict_data=prepared, write_checksum=True, write_dict_id=False)

    def pack(self, key: str, encoded: bytes) -> bytes | None:
        """Return an encoded entry packed; None if that does not pay."""
        body = strip(key, encoded)
        if body is None or len(body) > MAX_BODY_BYTES:
            return None
        packed = self._zstd.compress(body)
        return packed if len(packed) <= len(encoded) - len(encoded) // _LEAST_SAVED else None


def unpack(key: str, packed: bytes, using: ZstdDecompressor) -> bytes:
    """Return the encoded entry.

    Args:
        key: Its key.
        packed: What `Compressor.pack` made of it.
        using: Has the dictionary it was packed with.

    Raises:
        UnpackError: If it is damaged, or says that it is larger than anything stored.
    """
    return restored(key, unpack_body(packed, using))


def unpack_body(packed: bytes, using: ZstdDecompressor) -> bytes:
    """Return an entry's body.

    Raises:
        UnpackError: As `unpack`.
    """
    try:
        size = frame_content_size(packed)
        if size > MAX_BODY_BYTES:
            raise UnpackError("too_large")
        if size < 0:
            raise UnpackError("damaged")
        return using.decompress(packed, allow_extra_data=False)
    except ZstdError as error:
        raise UnpackError("damaged") from error


def restored(key: str, body: bytes) -> bytes:
    """Return the encoded entry of a body.

    Raises:
        UnpackError: If it is none.
    """
    try:
        return restore(key, body)
    except ValueError as error:
        raise UnpackError("damaged") from error
