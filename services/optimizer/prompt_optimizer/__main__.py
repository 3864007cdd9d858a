"""The `prompt-optimizer` command."""

from __future__ import annotations

import sys

from service_common.process import run_service

from prompt_optimizer.app import serve
from prompt_optimizer.config import OptimizerSettings
from prompt_optimizer.repository import SCHEMA


def main() -> int:
    """Run the optimizer until it is told to stop; returns the exit code."""
    return run_service(OptimizerSettings, serve, name="optimizer", schema=SCHEMA)


if __name__ == "__main__":
    sys.exit(main())
