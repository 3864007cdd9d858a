"""A version ready to render. What it renders depends on the version and the variables, on nothing else.

The processor renders the same way when this service is away (design: the fallback), so nothing may be added
here that the version itself does not say.
"""

from __future__ import annotations

from collections.abc import Mapping

from service_common.errors import ErrorKind, FieldViolation, ServiceError
from service_common.templating import Template as Rendering
from service_common.templating import compile_template

from prompt_optimizer.templates.source import Message, TemplateVersion, Variable


class CompiledVersion:
    """One version with its messages compiled; immutable, so it may be shared and cached.

    Attributes:
        version: What it was compiled from.
    """

    __slots__ = ("_defaults", "_messages", "_required", "_variables", "version")

    def __init__(self, version: TemplateVersion) -> None:
        """Compile a version.

        Raises:
            ServiceError: INVALID_ARGUMENT if a message is not a template.
        """
        self.version = version
        self._messages = tuple(map(_prepared, version.source.messages))
        self._variables: Mapping[str, Variable] = {each.name: each for each in version.source.variables}
        self._defaults = {each.name: each.default for each in version.source.variables if not each.required}
        self._required = tuple(each.name for each in version.source.variables if each.required)

    def render(self, variables: Mapping[str, str]) -> tuple[Message, ...]:
        """Return the messages with the variables filled in.

        Args:
            variables: Values by name; optional ones may be left out.

        Raises:
            ServiceError: INVALID_ARGUMENT: INVALID_VARIABLE naming each that is missing, unknown, too long or
                unfit; TEMPLATE_LIMIT when the text or the work would be out of bounds.
        """
        self._check(variables)
        values = {**self._defaults, **variables}
        try:
            return tuple(
                each if template is None else Message(each.role, template.render(values))
                for each, template in self._messages
            )
        except ServiceError as error:
            if error.reason != "INVALID_VARIABLES":
                raise
            raise _invalid(error.violations) from error

    def _check(self, variables: Mapping[str, str]) -> None:
        problems = [
            FieldViolation(f"variables.{name}", "is required")
            for name in self._required
            if name not in variables
        ]
        for name, value in variables.items():
            problem = self._objection(name, value)
            if problem:
                problems.append(FieldViolation(f"variables.{name}", problem))
        if problems:
            raise _invalid(problems)

    def _objection(self, name: str, value: str) -> str:
        known = self._variables.get(name)
        if known is None:
            return f"is not a variable of this version; it has {', '.join(sorted(self._variables)) or 'none'}"
        # A character has at most four bytes: most values need no encoding to be measured.
        if len(value) * 4 > known.max_bytes and len(value.encode()) > known.max_bytes:
            return f"must be at most {known.max_bytes} bytes"
        return ""


def _prepared(message: Message) -> tuple[Message, Rendering | None]:
    """Return a message and its template; a text without any syntax is its own rendering."""
    template = compile_template(message.content)
    if "{" in message.content:
        return message, template
    return Message(message.role, template.render({})), None


def _invalid(violations: list[FieldViolation] | tuple[FieldViolation, ...]) -> ServiceError:
    text = "; ".join(f"{each.field}: {each.description}" for each in violations)
    return ServiceError(ErrorKind.INVALID_ARGUMENT, "INVALID_VARIABLE", text, violations=violations)
