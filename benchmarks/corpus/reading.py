"""Reads the recorded corpus."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import zstandard

RECORDED = Path(__file__).parent / "pieces.jsonl.zst"


def read(path: Path | None = None) -> list[dict[str, Any]]:
    """Return its entries as they were cached, each with its topic.

    Args:
        path: Lines of JSON, packed if it ends in .zst; None for what is recorded here.
    """
    file = path or RECORDED
    content = file.read_bytes()
    if file.suffix == ".zst":
        content = zstandard.ZstdDecompressor().decompress(content, max_output_size=16 * 1024 * 1024)
    rows: list[dict[str, Any]] = [json.loads(line) for line in content.splitlines()]
    return [{**each, "topic": each["metadata"]["item"].split("/")[0]} for each in rows]
