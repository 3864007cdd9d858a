"""Programs that tests need and a machine may lack: there a test skips and says so; in CI it fails."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import NoReturn

import pytest


def demanded() -> bool:
    """Tell whether a missing program is a failure: CI is set, or REQUIRE_REAL_PARTS."""
    return any(os.environ.get(name, "").lower() in ("1", "true") for name in ("CI", "REQUIRE_REAL_PARTS"))


def missing(reason: str) -> NoReturn:
    """Skip the test, or fail it where nothing may be missing."""
    if demanded():
        pytest.fail(f"{reason} (CI or REQUIRE_REAL_PARTS is set)")
    pytest.skip(reason)


def program(name: str, advice: str) -> str:
    """Return a program's path; also looks where `go install` puts what it builds.

    Args:
        name: The program.
        advice: How one gets it.
    """
    go_folder = Path(os.environ.get("GOPATH") or Path.home() / "go") / "bin"
    found = shutil.which(name) or shutil.which(name, path=str(go_folder))
    if found is None:
        missing(f"{name} is not on this machine: {advice}")
    return found
