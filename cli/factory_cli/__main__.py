"""`factory`, or `python -m factory_cli`."""

from __future__ import annotations

import sys

from factory_cli import exit_codes
from factory_cli.application import app
from factory_cli.settings import Finished


def main() -> None:
    """Run a command and end with the exit code it means."""
    try:
        app(prog_name="factory")
    except Finished:
        raise
    except SystemExit as error:  # the parser's own: help, or wrong usage, which it would call 2
        sys.exit(exit_codes.USAGE if error.code else exit_codes.OK)


if __name__ == "__main__":
    main()
