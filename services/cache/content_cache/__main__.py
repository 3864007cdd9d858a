"""Runs the cache: `content-cache`, configured by its environment."""

from __future__ import annotations

import sys

from service_common.process import run_service

from content_cache.app import serve
from content_cache.config import Settings
from content_cache.repository.schema import SCHEMA


def main() -> int:
    """Run until told to stop; returns the exit code."""
    return run_service(Settings, serve, name="cache", schema=SCHEMA)


if __name__ == "__main__":
    sys.exit(main())
