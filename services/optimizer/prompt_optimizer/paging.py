"""Page tokens: where a listing goes on, opaque to clients."""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode

from service_common.errors import invalid_field

_PREFIX = "p1:"
_TEMPLATE_ID = re.compile(r"[a-z][a-z0-9_]{0,62}")
_VERSION = re.compile(r"[1-9]\d{0,9}")


def after_template(token: str) -> str:
    """Return the id after which the page starts; empty for the first page.

    Raises:
        ServiceError: INVALID_ARGUMENT if it is not a token of this listing.
    """
    return _read(token, _TEMPLATE_ID)


def below_version(token: str) -> int | None:
    """Return the number below which the page starts; None for the first page.

    Raises:
        ServiceError: INVALID_ARGUMENT if it is not a token of this listing.
    """
    text = _read(token, _VERSION)
    return int(text) if text else None


def token_of(position: str) -> str:
    """Return the token of the page that goes on from a position."""
    return urlsafe_b64encode(f"{_PREFIX}{position}".encode()).decode()


def _read(token: str, form: re.Pattern[str]) -> str:
    if not token:
        return ""
    try:
        text = urlsafe_b64decode(token.encode("ascii")).decode("ascii")
    except ValueError:  # neither base64 nor text
        text = ""
    position = text.removeprefix(_PREFIX)
    if not text.startswith(_PREFIX) or not form.fullmatch(position):
        raise invalid_field("page_token", "is not a next_page_token of this listing")
    return position
