"""The embedded model as a process: `python -m factory_cli.embedded_model --port 8089`.

Serves the OpenAI-compatible API on loopback and ends with its parent: when standard input closes, it is over.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from factory_cli import exit_codes
from factory_cli.model import files

SLOTS = 8
SLOT_TOKENS = 2048
# The most the factory asks of it: a slot holds the prompt (instructions, an outline of OUTPUT_TOKENS,
# a document of SOURCE_BYTES) and the answer, and on two cores people wait for every token.
OUTPUT_TOKENS = 340
SOURCE_BYTES = 2_000


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until told to stop or left alone."""
    arguments = _parse(argv)
    found = files.find()
    if found.gguf is None or not found.server_installed:
        print(files.explain_missing(found), file=sys.stderr)  # noqa: T201 - read by whoever started it
        return exit_codes.USAGE
    stop = threading.Event()
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, lambda *_: stop.set())
    server = _serve(found.gguf, arguments.port, arguments.threads)
    print(  # noqa: T201 - the line that says where it is
        json.dumps({"event": "serving", "service": "model", "url": server.listening_address}),
        file=sys.stderr,
        flush=True,
    )
    if not arguments.keep_without_parent:
        threading.Thread(target=_wait_for_parents_end, args=(stop,), daemon=True).start()
    stop.wait()
    # The server's own shutdown waits for generations in flight; nobody is left to read them.
    os._exit(exit_codes.OK)


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="embedded_model", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="port on 127.0.0.1; 0 takes any free one")
    parser.add_argument("--threads", type=int, default=_threads(), help="CPU threads to compute on")
    parser.add_argument(
        "--keep-without-parent", action="store_true", help="stay when standard input closes (started by hand)"
    )
    return parser.parse_args(argv)


def _threads() -> int:
    # The threads spin while they wait for each other: one that has to share its core with the services stops
    # all of them. One core is left to the services.
    return max(1, (os.cpu_count() or 1) - 1)


def _serve(gguf: Path, port: int, threads: int) -> Any:
    import xllamacpp  # noqa: PLC0415 - present only where its wheel is; the message above comes first

    params = xllamacpp.CommonParams()
    params.model.path = str(gguf)
    params.model_alias = {files.MODEL_NAME}
    params.hostnames = ["127.0.0.1"]
    params.port = port
    params.n_parallel = SLOTS
    params.n_ctx = SLOTS * SLOT_TOKENS
    params.cont_batching = True
    params.cpuparams.n_threads = threads
    params.cpuparams.poll = 0  # waiting threads sleep: spinning ones take the services' time
    params.endpoint_metrics = True
    params.ui = False
    params.fit_params = False  # sizing memory by probing devices takes longer than loading
    params.cache_ram_mib = 0  # prompts are cached by the factory, by content
    params.verbosity = 0
    _sample_without_loops(params.sampling)
    return xllamacpp.Server(params)


def _sample_without_loops(sampling: Any) -> None:
    """Set what applies where a request says nothing: so small a model soon says the same thing over and over.

    Runs of tokens that would repeat are made unlikely, those of the prompt's example included, and so are
    tokens that came often just now. A penalty for having come at all would take away the topic's own words,
    and the text drifts to another topic.
    """
    sampling.dry_multiplier = 0.6
    sampling.dry_allowed_length = 3  # shorter runs are the form asked for: "Front:", "**Example**"
    sampling.dry_penalty_last_n = 1024
    sampling.penalty_freq = 0.15
    sampling.penalty_last_n = 64
    sampling.min_p = 0.1


def _wait_for_parents_end(stop: threading.Event) -> None:
    while os.read(sys.stdin.fileno(), 1):
        pass
    stop.set()


if __name__ == "__main__":
    sys.exit(main())
