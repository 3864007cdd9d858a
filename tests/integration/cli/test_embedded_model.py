"""The embedded model as a process: it answers, counts tokens, and is gone when its parent is."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator

import psutil
import pytest
from factory_cli.model.files import MODEL_NAME, find

from tests.support.real_parts import demanded

_TIMEOUT_S = 60

pytestmark = [
    pytest.mark.skipif(
        not find().complete and not demanded(),
        reason="the embedded model's wheels do not exist for this platform",
    ),
    pytest.mark.xdist_group("embedded_model"),
]


@pytest.fixture
def model() -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """Start the model on any free port; yields its process and its address."""
    process = subprocess.Popen(
        [sys.executable, "-m", "factory_cli.embedded_model", "--port", "0"],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        assert process.stderr is not None
        line = json.loads(process.stderr.readline())
        yield process, line["url"]
    finally:
        process.kill()
        process.wait()


def test_it_answers_and_counts(model: tuple[subprocess.Popen[bytes], str]) -> None:
    """A chat completion has words and usage, and the server's own counters agree with it."""
    _, url = model
    body = {
        "model": MODEL_NAME,
        "messages": [{"role": "user", "content": "What is the capital of France?"}],
        "max_tokens": 12,
    }
    request = urllib.request.Request(
        f"{url}/v1/chat/completions", json.dumps(body).encode(), {"content-type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:
        found = json.load(answer)
    with urllib.request.urlopen(f"{url}/metrics", timeout=_TIMEOUT_S) as answer:
        metrics = answer.read().decode()
    assert found["choices"][0]["message"]["content"].strip()
    assert f"llamacpp:tokens_predicted_total {found['usage']['completion_tokens']}" in metrics
    assert f"llamacpp:prompt_tokens_total {found['usage']['prompt_tokens']}" in metrics


def test_it_ends_when_its_input_closes(model: tuple[subprocess.Popen[bytes], str]) -> None:
    """Closing its standard input, which a parent's death does, ends it."""
    process, _ = model
    assert process.stdin is not None
    process.stdin.close()
    assert process.wait(_TIMEOUT_S) == 0


def test_it_ends_when_told_to(model: tuple[subprocess.Popen[bytes], str]) -> None:
    """SIGTERM ends it with exit code 0."""
    process, _ = model
    process.terminate()
    assert process.wait(_TIMEOUT_S) == 0


def test_it_dies_with_a_parent_that_is_killed() -> None:
    """A parent that is killed outright leaves no model behind."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    script = (
        "import subprocess, sys\n"
        f"command = [sys.executable, '-m', 'factory_cli.embedded_model', '--port', '{port}']\n"
        "child = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE)\n"
        "child.stderr.readline()\n"
        "print(child.pid, flush=True)\n"
        "child.wait()\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    deadline = time.monotonic() + _TIMEOUT_S
    while _runs(child) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _runs(child)


def _runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE  # nobody may be there to reap it
    except psutil.NoSuchProcess:
        return False
