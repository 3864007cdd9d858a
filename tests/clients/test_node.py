"""A Node client made from the .proto files alone runs a job and streams its progress; cache keys agree."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.fleet import Fleet, running_fleet
from tests.support.real_parts import missing, program

NODE_CLIENT = Path(__file__).parent / "node"
VECTORS = Path(__file__).parents[2] / "protos" / "cache_key_vectors.json"
ITEMS = 12
pytestmark = pytest.mark.xdist_group("clients")


def node(script: str, *arguments: str) -> Any:
    """Run a script of the Node client and return the JSON it prints."""
    command = [program("node", "install Node.js 18 or newer"), str(NODE_CLIENT / script), *arguments]
    if not (NODE_CLIENT / "node_modules").is_dir():
        missing("the Node client's packages are not installed: npm ci --prefix tests/clients/node")
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Run the four services."""
    with running_fleet(
        tmp_path_factory.mktemp("node"), {"LOG_LEVEL": "warning", "DRAIN_GRACE_S": "1"}
    ) as running:
        yield running


def test_a_job_from_node(fleet: Fleet) -> None:
    """Submitted, watched, collected: each number and each item once, under the keys that Node computes."""
    seen = node("run_job.mjs", fleet.address("processor"), fleet.address("tracker"), str(ITEMS))
    names = {f"item-{number}" for number in range(ITEMS)}
    assert seen["added"] == ["value"] * ITEMS
    assert (seen["state"], seen["succeeded"]) == ("JOB_STATE_SUCCEEDED", ITEMS)
    assert seen["sequences"] == list(range(1, len(seen["sequences"]) + 1))
    finished = [name for name, state in seen["item_events"] if state == "ITEM_STATE_SUCCEEDED"]
    assert sorted(finished) == sorted(names)
    assert seen["job_states"][-1] == "JOB_STATE_SUCCEEDED"
    assert sorted(each["item_id"] for each in seen["results"]) == sorted(names)
    assert {each["item_id"]: each["key"] for each in seen["results"]} == seen["expected_keys"]
    assert all(each["content"] for each in seen["results"])
    assert fleet.model.counts()["completions"] == ITEMS


def test_an_error_reaches_node_with_its_details(fleet: Fleet) -> None:
    """NOT_FOUND is code 5 there too, and the details are in the trailing metadata."""
    seen = node("run_job.mjs", fleet.address("processor"), fleet.address("tracker"), "1")
    assert seen["refusal"] == {"code": 5, "details": 1}


def test_cache_keys_are_computable_in_another_language() -> None:
    """For every published vector, Node arrives at the same canonical bytes and the same key."""
    expected = [
        {name: vector[name] for name in ("name", "canonical_hex", "key")}
        for vector in json.loads(VECTORS.read_text("utf-8"))
    ]
    assert expected
    assert expected == node("check_vectors.mjs", str(VECTORS))
