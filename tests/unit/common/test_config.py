"""Settings: every bad variable in one message, and no exposure by accident."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import Field
from service_common.config import CommonSettings, ConfigError, is_loopback, load, variables


class OwnSettings(CommonSettings):
    """A service's settings."""

    port: int = Field(50051, description="RPC port.")
    own_limit: int = Field(description="A required figure.", ge=1)


def problems(environ: dict[str, str]) -> dict[str, str]:
    """Return what is wrong, by variable."""
    with pytest.raises(ConfigError) as caught:
        load(OwnSettings, environ)
    for each in caught.value.problems:
        assert f"{each.variable}: {each.text}" in str(caught.value)
    return {each.variable: each.text for each in caught.value.problems}


def test_defaults_are_safe() -> None:
    """With only the required variable set: loopback, no TLS, reflection on, frozen."""
    settings = load(OwnSettings, {"OWN_LIMIT": "3", "METRICS_PORT": ""})
    assert (settings.host, settings.port, settings.own_limit) == ("127.0.0.1", 50051, 3)
    assert settings.reflection_enabled
    assert not settings.exposed_unprotected
    with pytest.raises(ValueError, match="frozen"):
        settings.port = 1  # type: ignore[misc]  # being refused is the point


def test_the_process_environment_is_not_consulted(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not in the given mapping is not set."""
    monkeypatch.setenv("PORT", "7")
    assert load(OwnSettings, {"OWN_LIMIT": "3"}).port == 50051


def test_one_message_names_every_bad_variable() -> None:
    """Wrong types, missing values, missing files and rules between fields are told together."""
    found = problems(
        {
            "PORT": "x",
            "TRACE_SAMPLE_RATIO": "2",
            "STORE_URL": "redis://x",
            "HOST": "0.0.0.0",
            "TLS_CLIENT_CA_FILE": "/does/not/exist",
        }
    )
    assert {"PORT", "TRACE_SAMPLE_RATIO", "STORE_URL", "OWN_LIMIT"} <= set(found)
    assert {"TLS_CLIENT_CA_FILE", "TLS_CERT_FILE", "AUTH_TOKENS_FILE"} <= set(found)
    assert "'x'" in found["PORT"]
    assert "sqlite:///PATH" in found["STORE_URL"]


def test_exposure_needs_tls_and_tokens_or_a_loud_word(tmp_path: Path) -> None:
    """A non-loopback address is refused unprotected, allowed with both files or INSECURE=1."""
    base = {"OWN_LIMIT": "1", "HOST": "0.0.0.0"}
    assert set(problems(base)) == {"TLS_CERT_FILE", "AUTH_TOKENS_FILE"}
    assert load(OwnSettings, {**base, "INSECURE": "1"}).exposed_unprotected
    files = {}
    for name in ("TLS_CERT_FILE", "TLS_KEY_FILE", "AUTH_TOKENS_FILE"):
        (tmp_path / name).write_text("x")
        files[name] = str(tmp_path / name)
    settings = load(OwnSettings, {**base, **files})
    assert not settings.exposed_unprotected
    assert not settings.reflection_enabled


def test_pairs_and_ports_are_checked() -> None:
    """Half a TLS pair, two sources of one token and colliding ports are named; no token is shown."""
    found = problems(
        {
            "OWN_LIMIT": "1",
            "METRICS_PORT": "50051",
            "TLS_KEY_FILE": __file__,
            "SERVICE_TOKEN": "hush",
            "SERVICE_TOKEN_FILE": __file__,
        }
    )
    assert set(found) == {"METRICS_PORT", "TLS_CERT_FILE", "SERVICE_TOKEN_FILE"}
    assert "hush" not in str(found)


def test_every_variable_is_described() -> None:
    """The table has a service's own first, each with its default and a description."""
    table = variables(OwnSettings)
    assert table[0].name == "OWN_LIMIT"
    assert {each.name: each.default for each in table}["PORT"] == "50051"
    assert {each.name: each.default for each in table}["INSECURE"] == "0"
    assert all(each.description for each in table)


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("db", False),
    ],
)
def test_loopback(host: str, *, expected: bool) -> None:
    """Only addresses of this machine are loopback; a name might be anything."""
    assert is_loopback(host) is expected
