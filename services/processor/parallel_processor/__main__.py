"""`parallel-processor`, or `python -m parallel_processor`: run the service."""

import sys

from service_common.process import run_service

from parallel_processor.app import serve
from parallel_processor.config import Settings


def main() -> int:
    """Run until told to stop; returns the exit code."""
    return run_service(Settings, serve, name="processor")


if __name__ == "__main__":
    sys.exit(main())
