"""Every failure a person sees: one clear line, an exit code, never a traceback."""

from __future__ import annotations

from service_common.errors import ErrorKind, ServiceError

from factory_cli import exit_codes

_USAGE_KINDS = frozenset(
    {
        ErrorKind.INVALID_ARGUMENT,
        ErrorKind.NOT_FOUND,
        ErrorKind.ALREADY_EXISTS,
        ErrorKind.FAILED_PRECONDITION,
        ErrorKind.OUT_OF_RANGE,
        ErrorKind.UNAUTHENTICATED,
        ErrorKind.PERMISSION_DENIED,
    }
)


class CommandError(Exception):
    """A command cannot go on.

    Attributes:
        message: For the person at the terminal; the first line says what, further ones what to do.
        exit_code: What the process ends with.
    """

    def __init__(self, message: str, exit_code: int = exit_codes.USAGE) -> None:
        super().__init__(message)
        self.message = message
        self.exit_code = exit_code


def describe(error: ServiceError, *, service: str) -> str:
    """Say in one line what a service answered: its message, the fields at fault and the reason."""
    if error.kind is ErrorKind.UNAVAILABLE and error.reason.startswith("STATUS_"):
        cause = error.message.rpartition(": ")[2]  # what the transport tried comes first, why it failed last
        return f"{service} cannot be reached ({cause}); is it up? try: factory up, factory doctor"
    fields = [f"{each.field}: {each.description}" for each in error.violations]
    missing = [each for each in fields if each not in error.message]
    text = "; ".join([error.message, *missing])
    return f"{service}: {text} [{error.kind.value}, {error.reason}]"


def from_service_error(error: ServiceError, *, service: str) -> CommandError:
    """Make the failure of a command whose call was answered with an error."""
    usage = error.kind in _USAGE_KINDS
    return CommandError(
        describe(error, service=service), exit_codes.USAGE if usage else exit_codes.UNREACHABLE
    )
