"""`parallel-processor`, or `python -m parallel_processor`: run the service."""

import sys

from service_common.process import run_service

from parallel_processor.app import serve
from parallel_processor.config import Settings
from parallel_processor.repository import SCHEMA


def main() -> int:
    """Run until told to stop; returns the exit code."""
    return run_service(Settings, serve, name="processor", schema=SCHEMA)


if __name__ == "__main__":
    sys.exit(main())
