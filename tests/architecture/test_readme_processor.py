"""The processor's README says what the code says."""

from __future__ import annotations

import re
from pathlib import Path

from contentfactory.processor.v1 import processor_pb2
from parallel_processor import metrics
from parallel_processor.config import Settings
from prometheus_client import Counter, Gauge, Histogram
from service_common.config import variables
from service_common.rpc.replicas import BREAKER_STATE
from service_common.telemetry.tallies import CounterTally, HistogramTally

SERVICE = Path(__file__).parents[2] / "services/processor"
README = (SERVICE / "README.md").read_text(encoding="utf-8")


def table(title: str) -> list[list[str]]:
    """Return the cells of the last table under a heading, without markup, without its head."""
    section = README.split(f"\n## {title}\n")[1].split("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("|")][2:]
    return [[cell.strip().replace("`", "") for cell in re.split(r"(?<!\\)\|", row)[1:-1]] for row in rows]


def test_every_rpc_is_listed() -> None:
    """The table of RPCs is the contract's list, in its order."""
    methods = processor_pb2.DESCRIPTOR.services_by_name["ProcessorService"].methods
    assert [row[0] for row in table("RPCs")] == [method.name for method in methods]


def test_every_variable_is_listed_with_its_default() -> None:
    """The table of variables is what the settings read."""
    expected = [[each.name, each.default, each.description.replace("`", "")] for each in variables(Settings)]
    assert table("Environment variables") == expected


def test_every_metric_is_listed_with_its_type_and_labels() -> None:
    """The table of metrics is what `metrics.py` declares."""
    declared = [each for each in vars(metrics).values() if isinstance(each, Counter | Gauge | Histogram)]
    tallies = [each for each in vars(metrics).values() if isinstance(each, CounterTally | HistogramTally)]
    expected = {
        (
            each._name + ("_total" if isinstance(each, Counter) else ""),
            each._type,
            ", ".join(each._labelnames),
        )
        for each in declared
        if each is not BREAKER_STATE
    } | {
        (f"{each._name}_total", "counter", ", ".join(each._labels))
        if isinstance(each, CounterTally)
        else (each._name, "histogram", ", ".join(each._labels))
        for each in tallies
    }
    assert {(name, kind, labels) for name, kind, labels, _ in table("Metrics")} == expected


def test_the_map_names_files_that_are_there() -> None:
    """Every file that the map of the rooms sends a reader to exists."""
    named = {name for row in table("The map of the rooms") for name in row[1].split(", ")}
    assert {name for name in named if not (SERVICE / "parallel_processor" / name).is_file()} == set()
