"""What a dictionary is accounted for is what a process grows by."""

from __future__ import annotations

import json
import subprocess
import sys

_GROWTH = """
import json
from datetime import UTC, datetime
from random import Random
import psutil
from content_cache.compression.codec import Compressor, unpack
from content_cache.compression.dictionary import Dictionary, prepare
from content_cache.memory.readings import return_free_memory
from tests.unit.cache.packed import sent
from zstandard import train_dictionary

random = Random(1)
words = ["".join(random.choices("abcdefghijklmnop", k=random.randint(3, 9))) for _ in range(4000)]
now, many = datetime(2026, 1, 1, tzinfo=UTC), 24

def value():
    return " ".join(random.choices(words, k=150))

def made(size):
    bodies = [value().encode() for _ in range(300)]
    content = train_dictionary(size, bodies, k=500, d=8, f=18, accel=5).as_bytes()
    return Dictionary("a", content, version=1, era=0, create_time=now, samples=300)

def growth(size):
    dictionaries = [made(size) for _ in range(many)]
    return_free_memory()  # else it grows into what the training gave back
    before, kept = psutil.Process().memory_info().rss, []
    for each in dictionaries:
        compressor, used = Compressor(6, each), prepare(each, now)
        encoded = sent("k", value())
        assert unpack("k", compressor.pack("k", encoded), used.decompressor) == encoded
        kept.append((compressor, used))
    grown = psutil.Process().memory_info().rss - before + sum(len(each.content) for each in dictionaries)
    return grown, sum(each.size_bytes for each in dictionaries)

growth(2048)
print(json.dumps([growth(size) for size in (8192, 16384)]))
"""


def _measured() -> list[tuple[int, int]]:
    done = subprocess.run([sys.executable, "-c", _GROWTH], check=True, capture_output=True, text=True)
    return [(grown, accounted) for grown, accounted in json.loads(done.stdout)]


def test_a_dictionary_takes_what_is_accounted() -> None:
    """Of 8 and of 16 KiB, ready to pack and unpack, it takes what it says, within a quarter."""
    for grown, accounted in _measured():
        assert 0.75 * grown <= accounted <= 1.25 * grown, (grown, accounted)
