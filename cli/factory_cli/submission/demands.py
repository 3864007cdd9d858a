"""What an author demands of outputs: a contract and handlers, as written in a line of JSONL."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from contentfactory.processor.v1 import processor_pb2 as pb
from google.protobuf.json_format import ParseDict, ParseError

from factory_cli.failures import CommandError


def contract_message(written: Mapping[str, Any]) -> pb.OutputContract:
    """Return a contract as the processor takes it; its schema may be written as the object it is.

    Raises:
        ValueError: If it is none, in words.
    """
    form = written.get("json")
    if isinstance(form, dict) and isinstance(form.get("schema"), dict):
        written = {**written, "json": {**form, "schema": json.dumps(form["schema"])}}
    try:
        return ParseDict(dict(written), pb.OutputContract())
    except ParseError as error:
        raise ValueError(str(error)) from error


def contract_from(path: Path) -> pb.OutputContract:
    """Read a contract from a file.

    Raises:
        CommandError: If there is none in it.
    """
    try:
        written = json.loads(path.read_text("utf-8"))
        if isinstance(written, dict):
            return contract_message(written)
    except (OSError, ValueError) as error:
        raise CommandError(f"{path} holds no output contract: {error}") from error
    raise CommandError(f"{path} holds no output contract: it is not an object")


def contract_of(row: Mapping[str, Any], problems: list[str]) -> Mapping[str, Any] | None:
    """Read the contract of a line."""
    value = row.get("output_contract")
    if value is None:
        return None
    if not isinstance(value, dict):
        problems.append("output_contract must be an object, as in README.md of the examples")
        return None
    try:
        contract_message(value)
    except ValueError as error:
        problems.append(f"output_contract: {error}")
    return value


def handlers_of(row: Mapping[str, Any], problems: list[str]) -> tuple[str, ...]:
    """Read the handlers of a line."""
    value = row.get("handlers", [])
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        problems.append("handlers must be a list of names")
        return ()
    return tuple(value)
