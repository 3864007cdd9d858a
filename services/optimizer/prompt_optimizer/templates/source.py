"""What a template version says, as plain values: messages, variables, sampling. Never changed once made."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import Enum
from typing import Any

from service_common.frozen import dataclass
from service_common.output_contract import OutputContract, contract_of

DEFAULT_VARIABLE_BYTES = 65_536


class Role(Enum):
    """Who speaks in a conversation with a model."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"


@dataclass(frozen=True, slots=True)
class Message:
    """One message: template source in a version, final text in a prompt."""

    role: Role
    content: str


@dataclass(frozen=True, slots=True)
class Sampling:
    """How a model is to sample; None leaves a choice to the endpoint."""

    max_tokens: int
    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Variable:
    """One variable the messages use.

    Attributes:
        name: As the messages write it.
        description: For people.
        required: Whether a request must give it.
        default: Its value when a request does not; only where it is not required.
        max_bytes: The most bytes of UTF-8 a value may have.
    """

    name: str
    description: str = ""
    required: bool = False
    default: str = ""
    max_bytes: int = DEFAULT_VARIABLE_BYTES


@dataclass(frozen=True, slots=True)
class TemplateSource:
    """The whole of a version's meaning; an empty model leaves the choice to the processor.

    Without a contract any output goes; handlers are those of the processor, by name.
    """

    messages: tuple[Message, ...]
    variables: tuple[Variable, ...]
    sampling: Sampling
    model: str = ""
    output_contract: OutputContract | None = None
    handlers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TemplateVersion:
    """One immutable version of a template; a built-in one has neither time nor user."""

    template_id: str
    version: int
    content_type: str
    source: TemplateSource
    description: str = ""
    create_time: datetime | None = None
    create_user: str = ""


def source_of(fields: Mapping[str, Any]) -> TemplateSource:
    """Return the source written down as plain fields, in a document or in a file."""
    sampling, contract = fields["sampling"], fields.get("output_contract")
    return TemplateSource(
        messages=tuple(Message(Role(each["role"]), each["content"]) for each in fields["messages"]),
        variables=tuple(Variable(**each) for each in fields["variables"]),
        sampling=Sampling(**{**sampling, "stop": tuple(sampling.get("stop", ()))}),
        model=fields.get("model", ""),
        output_contract=contract_of(contract) if contract is not None else None,
        handlers=tuple(fields.get("handlers", ())),
    )
