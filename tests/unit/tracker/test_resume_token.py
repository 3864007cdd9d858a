"""A resume token fits the history it was made for, and nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from progress_tracker.resume_token import KEY_BYTES, ResumeTokens
from service_common.errors import ServiceError

TOKENS = ResumeTokens(b"k" * KEY_BYTES)


@given(sequence=st.integers(0, 2**63 - 1))
def test_a_token_opens_to_its_number(sequence: int) -> None:
    """Making and opening are inverse."""
    token = TOKENS.make("t", "j", log_id="l", sequence=sequence)
    assert sequence == TOKENS.open(token, "t", job_id="j", log_id="l")


@pytest.mark.parametrize(
    ("tenant", "job", "log"), [("u", "j", "l"), ("t", "k", "l"), ("t", "j", "m"), ("t\0j", "", "l")]
)
def test_a_token_is_bound_to_tenant_job_and_history(tenant: str, job: str, log: str) -> None:
    """Elsewhere it is INVALID_RESUME_TOKEN."""
    token = TOKENS.make("t", "j", log_id="l", sequence=1)
    with pytest.raises(ServiceError) as caught:
        TOKENS.open(token, tenant, job_id=job, log_id=log)
    assert caught.value.reason == "INVALID_RESUME_TOKEN"


@given(text=st.text(max_size=60))
def test_arbitrary_text_is_no_token(text: str) -> None:
    """Garbage is refused as an invalid token, never otherwise."""
    with pytest.raises(ServiceError) as caught:
        TOKENS.open(text, "t", job_id="j", log_id="l")
    assert caught.value.reason == "INVALID_RESUME_TOKEN"


def test_another_key_opens_nothing() -> None:
    """A token cannot be made without the key."""
    forged = ResumeTokens(b"x" * KEY_BYTES).make("t", "j", log_id="l", sequence=1)
    with pytest.raises(ServiceError):
        TOKENS.open(forged, "t", job_id="j", log_id="l")
