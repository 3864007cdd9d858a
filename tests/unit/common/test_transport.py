"""What is set for gRPC before it is loaded, is something that this release of gRPC knows."""

from __future__ import annotations

import os
import subprocess
import sys

_SERVE = """
import service_common, asyncio, grpc.aio
async def main():
    server = grpc.aio.server()
    server.add_insecure_port("127.0.0.1:0")
    await server.start()
    await server.stop(0)
asyncio.run(main())
"""


def _complaints(**env: str) -> str:
    environ = {name: value for name, value in os.environ.items() if name != "GRPC_EXPERIMENTS"}
    done = subprocess.run(
        [sys.executable, "-c", _SERVE],
        env=environ | env,
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done.stderr


def test_the_experiment_that_is_switched_off_exists() -> None:
    """Loading gRPC with the services' own setting brings no complaint, and one it does not know would."""
    assert "experiment" not in _complaints()
    assert "no_such_thing" in _complaints(GRPC_EXPERIMENTS="-no_such_thing")
