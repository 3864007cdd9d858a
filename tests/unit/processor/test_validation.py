"""Requests are checked field by field: each violation is named by its path."""

from __future__ import annotations

import pytest
from contentfactory.processor.v1 import processor_pb2 as pb
from parallel_processor.validation import check_item
from service_common.errors import ServiceError

Dependency = pb.JobItem.Dependency


def item(*depends_on: Dependency, **variables: str) -> pb.JobItem:
    """Return an item of a template."""
    spec = pb.PieceSpec(template_id="faq", variables=variables)
    return pb.JobItem(item_id="a", spec=spec, depends_on=depends_on)


def test_each_variable_gets_its_value_from_one_place() -> None:
    """Two dependencies, or a dependency and a given value, never meet in one variable."""
    outline, notes = (
        Dependency(item_id="o", variable="outline"),
        Dependency(item_id="n", variable="notes"),
    )
    check_item("items[0]", item(outline, notes, topic="Tides"), handlers=())
    for refused in (item(outline, Dependency(item_id="p", variable="outline")), item(outline, outline="x")):
        with pytest.raises(ServiceError) as caught:
            check_item("items[0]", refused, handlers=())
        last = len(refused.depends_on) - 1
        assert [each.field for each in caught.value.violations] == [f"items[0].depends_on[{last}].variable"]
