"""A contract only grows: what was released stays as it was, as `make proto-breaking` sees it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
CACHE = Path("contentfactory/cache/v1/cache.proto")
KEPT_FIELD = "  string key = 1;\n"


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the contracts and of what checks them."""
    for name in ("Makefile", "buf.yaml"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "protos", tmp_path / "protos", ignore=shutil.ignore_patterns("gen"))
    return tmp_path


def check(root: Path) -> subprocess.CompletedProcess[str]:
    """Run the command that CI runs; `setup` is taken for done."""
    command = ("make", "-C", str(root), "-o", "setup", "proto-breaking", f"BIN={BIN}")
    return subprocess.run(command, check=False, capture_output=True, text=True)


def change(root: Path, before: str, after: str) -> None:
    """Replace the first of some text in the cache's contract."""
    path = root / "protos" / CACHE
    text = path.read_text("utf-8")
    assert before in text
    path.write_text(text.replace(before, after, 1), "utf-8")


def test_the_contracts_keep_what_was_released(copy: Path) -> None:
    """Nothing released is missing or changed."""
    done = check(copy)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (KEPT_FIELD, "  string key = 999;\n", 'field "1"'),
        (KEPT_FIELD, "  bytes key = 1;\n", "type"),
        ("  rpc Delete(DeleteRequest) returns (DeleteResponse);\n", "", 'RPC "Delete"'),
        (
            "  rpc Delete(DeleteRequest) returns (DeleteResponse);\n",
            "  rpc Delete(DeleteRequest) returns (stream DeleteResponse);\n",
            'RPC "Delete"',
        ),
    ],
    ids=["field renumbered", "field of another type", "RPC removed", "RPC streams"],
)
def test_what_breaks_a_client_is_refused(copy: Path, before: str, after: str, said: str) -> None:
    """A released field or RPC that is gone or changed is named, with what to do."""
    change(copy, before, after)
    done = check(copy)
    assert done.returncode != 0
    assert said in done.stdout + done.stderr
    assert str(CACHE) in done.stdout
    assert "only grows" in done.stderr


def test_a_contract_may_grow(copy: Path) -> None:
    """A new field and a new RPC are accepted."""
    change(copy, KEPT_FIELD, KEPT_FIELD + "  string added = 999;\n")
    change(copy, "  rpc Delete(", "  rpc Again(DeleteRequest) returns (DeleteResponse);\n  rpc Delete(")
    done = check(copy)
    assert done.returncode == 0, done.stdout + done.stderr
