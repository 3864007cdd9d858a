"""Runs the tracker: `progress-tracker`, configured by its environment."""

from __future__ import annotations

import sys

from service_common.process import run_service

from progress_tracker.app import serve
from progress_tracker.config import Settings
from progress_tracker.repository import SCHEMA


def main() -> int:
    """Run until told to stop; returns the exit code."""
    return run_service(Settings, serve, name="tracker", schema=SCHEMA)


if __name__ == "__main__":
    sys.exit(main())
