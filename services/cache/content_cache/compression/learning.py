"""What one training does, without I/O: bodies in, a dictionary's content out if it pays.

Collet and Handte's FastCOVER as zstd has it (ZDICT_trainFromBuffer_fastCover). Every fifth sample is kept
back: on those the new dictionary must beat what is in use. Time is bounded by the bytes that are learnt from:
a mebibyte takes about a second of one core.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Final

from zstandard import ZstdCompressionDict, ZstdCompressor, ZstdError, train_dictionary

MAX_DICTIONARY_BYTES: Final = 16 * 1024
"""On real pieces twice as much saves no more, and memory goes with it."""

MAX_SAMPLE_BYTES: Final = 64 * 1024
"""Of one entry; a dictionary helps at the beginning."""

MAX_LEARNT_BYTES: Final = 1024 * 1024
_LEAST_SAMPLES: Final = 16
_KEPT_BACK: Final = 5
_SAMPLES_PER_BYTE: Final = 4
_LEAST_BYTES: Final = 1024
_MUST_BEAT: Final = 0.95


def learn(bodies: Sequence[bytes], *, level: int, rival: bytes | None) -> bytes | None:
    """Return a dictionary's content; None if there is too little to learn from or it does not pay.

    Args:
        bodies: What was kept of entries, in random order.
        level: zstd's level.
        rival: The content of the dictionary in use; None for none.
    """
    chosen: list[bytes | bytearray | memoryview] = [each[:MAX_SAMPLE_BYTES] for each in bodies]
    sums = accumulate(map(len, chosen))
    chosen = [each for each, total in zip(chosen, sums, strict=True) if total <= MAX_LEARNT_BYTES]
    judged = chosen[::_KEPT_BACK]
    learnt = [each for place, each in enumerate(chosen) if place % _KEPT_BACK]
    size = min(MAX_DICTIONARY_BYTES, sum(map(len, learnt)) // _SAMPLES_PER_BYTE)
    if len(learnt) < _LEAST_SAMPLES or size < _LEAST_BYTES:
        return None
    try:
        content = train_dictionary(size, learnt, level=level).as_bytes()
    except ZstdError:  # the samples have nothing in common
        return None
    before = _packed_bytes(judged, rival, level)
    return content if _packed_bytes(judged, content, level) <= _MUST_BEAT * before else None


def _packed_bytes(bodies: Sequence[bytes | bytearray | memoryview], content: bytes | None, level: int) -> int:
    prepared = None if content is None else ZstdCompressionDict(content)
    if prepared is not None:
        prepared.precompute_compress(level=level)
    compressor = ZstdCompressor(level=level, dict_data=prepared, write_dict_id=False)
    return sum(len(compressor.compress(each)) for each in bodies)
