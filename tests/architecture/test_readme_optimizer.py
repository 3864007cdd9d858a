"""The optimizer's README says what the code does: RPCs, variables and metrics are those of the code."""

from __future__ import annotations

import re
from pathlib import Path

from contentfactory.optimizer.v1 import optimizer_pb2
from prometheus_client.metrics import MetricWrapperBase
from prompt_optimizer import metrics
from prompt_optimizer.builtin.loading import load_built_in
from prompt_optimizer.config import OptimizerSettings
from service_common.config import variables

README = Path(__file__).parents[2] / "services" / "optimizer" / "README.md"


def table(heading: str) -> list[list[str]]:
    """Return the rows of the table under a heading, without its head."""
    section = README.read_text().split(f"\n## {heading}\n")[1].split("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]] for row in rows[2:]]


def test_the_table_of_rpcs_is_the_contract() -> None:
    """Every RPC, in the contract's order."""
    service = optimizer_pb2.DESCRIPTOR.services_by_name["OptimizerService"]
    assert [row[0] for row in table("RPCs")] == [each.name for each in service.methods]


def test_the_table_of_variables_is_the_settings() -> None:
    """Every variable with its default and description."""
    expected = [
        [f"`{each.name}`", f"`{each.default}`" if each.default else "", each.description]
        for each in variables(OptimizerSettings)
    ]
    assert table("Environment") == expected


def test_the_table_of_metrics_is_the_registry() -> None:
    """Every metric of the service with its type, labels and meaning."""
    own = [each for each in vars(metrics).values() if isinstance(each, MetricWrapperBase)]
    expected = [
        [
            f"`{found.name}`" if found.type != "counter" else f"`{found.name}_total`",
            found.type,
            ", ".join(f"`{label}`" for label in each._labelnames),
            found.documentation,
        ]
        for each in own
        for found in each.describe()
    ]
    assert table("Metrics") == expected


def test_the_built_in_templates_are_the_ones_named() -> None:
    """One file for each content type of the contract."""
    section = README.read_text().split("\n## Built-in templates\n")[1].split(":")[0]
    assert sorted(re.findall(r"`(\w+)`", section)) == list(load_built_in())
