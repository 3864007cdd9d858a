"""Contracts, handlers and prompts in lines of JSONL: sent as written, refused when they are none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from factory_cli.failures import CommandError
from factory_cli.submission.batches import to_message
from factory_cli.submission.demands import contract_from, contract_message
from factory_cli.submission.items import make_groups
from factory_cli.submission.jsonl import parse_topics
from parallel_processor.validation import check_item

EXAMPLES = Path(__file__).parents[3] / "examples"
CONTRACT = {"json": {"schema": {"type": "object"}}, "words": {"max": 9}}


def problems(**row: Any) -> str:
    """Return what is wrong with a line."""
    topics, bad = parse_topics([json.dumps(row)])
    assert not topics
    (line,) = bad
    return line.problem


def test_a_schema_may_be_written_as_the_object_it_is() -> None:
    """It is sent as the text of its JSON; one that is text already is sent as it is."""
    message = contract_message(CONTRACT)
    assert json.loads(message.json.schema) == {"type": "object"}
    assert message.words.max == 9
    assert contract_message({"json": {"schema": "{}"}}).json.schema == "{}"


def test_a_topics_demands_hold_for_what_it_asks_for() -> None:
    """The outline that comes along unasked is not held to them."""
    (topic,), bad = parse_topics(
        [
            json.dumps(
                {
                    "topic": "Tides",
                    "content_types": ["faq"],
                    "output_contract": CONTRACT,
                    "handlers": ["check_links"],
                }
            )
        ]
    )
    outline, faq = (to_message(each) for each in make_groups([topic])[0])
    assert not bad
    assert (outline.spec.HasField("output_contract"), list(outline.spec.handlers)) == (False, [])
    assert (faq.spec.output_contract, list(faq.spec.handlers)) == (
        contract_message(CONTRACT),
        ["check_links"],
    )


def test_a_prompt_is_one_item_taken_literally() -> None:
    """It has no template and no variables, a content type of its own, and the tokens it says."""
    (topic,), _ = parse_topics(
        ['{"prompt": "Say {{ hello }}\\nloud", "id": "x", "content_types": ["greeting"], "max_tokens": 9}']
    )
    ((item,),) = make_groups([topic])
    message = to_message(item)
    assert message.item_id == "x/greeting"
    assert message.spec.raw.messages[0].content == "Say {{ hello }}\nloud"
    assert (message.spec.raw.max_tokens, message.spec.content_type, message.spec.template_id) == (
        9,
        "greeting",
        "",
    )
    check_item("item", message, handlers=())


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"prompt": ""}, "prompt is empty"),
        ({"prompt": "x", "topic": "y"}, "topic goes with a template"),
        ({"prompt": "x", "variables": {}}, "variables goes with a template"),
        ({"prompt": "x", "max_tokens": 0}, "max_tokens must be a number"),
        ({"prompt": "x", "content_types": ["a", "b"]}, "content of one type"),
        ({"topic": "x", "max_tokens": 5}, "max_tokens goes with a prompt"),
        ({"topic": "x", "handlers": "check_links"}, "handlers must be a list"),
        ({"topic": "x", "output_contract": []}, "output_contract must be an object"),
        ({"topic": "x", "output_contract": {"jsn": {}}}, "jsn"),
        ({"topic": "x", "output_contract": {"words": {"max": "many"}}}, "max"),
    ],
)
def test_what_is_wrong_is_said_of_the_line(row: dict[str, Any], words: str) -> None:
    """A demand that is none is found before anything is submitted."""
    assert words in problems(**row)


def test_the_example_is_a_job_that_a_processor_takes() -> None:
    """Each of its lines becomes an item with a contract and built-in handlers."""
    topics, bad = parse_topics((EXAMPLES / "cards.jsonl").read_text("utf-8").splitlines())
    assert not bad
    messages = [to_message(each) for group in make_groups(topics) for each in group]
    built_in = {"json_pretty", "normalize_whitespace", "check_links"}
    for each in messages:
        check_item("item", each, handlers=built_in)
    assert all(each.spec.HasField("output_contract") for each in messages)


def test_a_contract_in_a_file(tmp_path: Path) -> None:
    """It is read as it would be from a line; a file without one is named."""
    path = tmp_path / "contract.json"
    path.write_text(json.dumps(CONTRACT))
    assert contract_from(path) == contract_message(CONTRACT)
    for text in ("[]", "{", '{"wrds": 1}'):
        path.write_text(text)
        with pytest.raises(CommandError, match=r"contract\.json"):
            contract_from(path)
