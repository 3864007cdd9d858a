"""Who is calling: a bearer token from a file becomes tenant, user and roles; nobody names his own tenant."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path

from service_common.call import LOCAL_PRINCIPAL, ROLE_ACT_AS, Principal
from service_common.clock import Clock
from service_common.errors import ErrorKind, ServiceError
from service_common.reloading import ReloadingFile

AUTHORIZATION = "authorization"
ACT_AS_TENANT = "x-act-as-tenant"
ACT_AS_USER = "x-act-as-user"

_SCHEME = "bearer "
_TENANT = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_USER = re.compile(r"[\x21-\x7e]{1,128}")
_SHA256_HEX = re.compile(r"[0-9a-f]{64}")

TokenTable = Mapping[bytes, Principal]


def is_tenant_name(text: str) -> bool:
    """Tell whether a text may name a tenant: it becomes part of keys and paths."""
    return _TENANT.fullmatch(text) is not None


def parse_tokens(content: bytes) -> TokenTable:
    """Read a tokens file: principals by the SHA-256 of their token.

    Args:
        content: JSON list of {token or token_sha256, tenant, user, roles}.

    Raises:
        ValueError: Saying which entry is wrong and how; never quoting a token.
    """
    try:
        entries = json.loads(content)
    except ValueError as error:
        raise ValueError(f"not JSON: {error}") from error
    if not isinstance(entries, list):
        raise ValueError("must be a JSON list of {token or token_sha256, tenant, user, roles}")  # noqa: TRY004 - content, not a programming error
    table: dict[bytes, Principal] = {}
    for index, entry in enumerate(entries):
        digest, principal = _parse_entry(index, entry)
        if digest in table:
            raise ValueError(f"entry {index}: the same token as an earlier entry")
        table[digest] = principal
    return table


def _parse_entry(index: int, entry: object) -> tuple[bytes, Principal]:
    def fail(text: str) -> ValueError:
        return ValueError(f"entry {index}: {text}")

    if not isinstance(entry, dict):
        raise fail("must be an object")
    unknown = set(entry) - {"token", "token_sha256", "tenant", "user", "roles"}
    if unknown:
        raise fail(f"unknown fields {sorted(unknown)}")
    tenant, user, roles = entry.get("tenant"), entry.get("user", "service"), entry.get("roles", [])
    if not isinstance(tenant, str) or not is_tenant_name(tenant):
        raise fail(f"tenant must match {_TENANT.pattern}")
    if not isinstance(user, str) or not _USER.fullmatch(user):
        raise fail("user must be 1 to 128 printable ASCII characters without spaces")
    if not isinstance(roles, list) or not all(isinstance(role, str) for role in roles):
        raise fail("roles must be a list of strings")
    return _parse_digest(entry, fail), Principal(tenant=tenant, user=user, roles=frozenset(roles))


def _parse_digest(entry: Mapping[str, object], fail: Callable[[str], ValueError]) -> bytes:
    token, digest = entry.get("token"), entry.get("token_sha256")
    if (token is None) == (digest is None):
        raise fail("give exactly one of token and token_sha256")
    if token is not None:
        if not isinstance(token, str) or not token:
            raise fail("token must be a non-empty string")
        return hashlib.sha256(token.encode()).digest()
    if not isinstance(digest, str) or not _SHA256_HEX.fullmatch(digest):
        raise fail("token_sha256 must be 64 lower-case hexadecimal digits")
    return bytes.fromhex(digest)


class Authenticator:
    """Turns a call's metadata into its principal.

    Tokens are compared by their SHA-256 alone, so timing tells nothing about a secret's characters.
    Without a tokens file every caller is the one local principal; configuration allows that on loopback only.
    """

    def __init__(self, tokens_file: Path | None, *, clock: Clock) -> None:
        """Read the file.

        Args:
            tokens_file: Where tokens are; None for the one local principal.
            clock: Times the look for changes.

        Raises:
            OSError: If the file cannot be read.
            ValueError: If it cannot be understood.
        """
        self._tokens = ReloadingFile(tokens_file, parse_tokens, clock=clock) if tokens_file else None

    def authenticate(self, metadata: Mapping[str, str | bytes]) -> Principal:
        """Return who the call is made for.

        Raises:
            ServiceError: UNAUTHENTICATED without a known token; PERMISSION_DENIED for acting as another
                without the role; INVALID_ARGUMENT for a name that cannot be one.
        """
        caller = LOCAL_PRINCIPAL if self._tokens is None else self._identify(metadata, self._tokens.get())
        tenant = metadata.get(ACT_AS_TENANT)
        user = metadata.get(ACT_AS_USER)
        if tenant is None and user is None:
            return caller
        # Without tokens there is nobody to impersonate: services on one machine still act for stored tenants.
        if self._tokens is not None and ROLE_ACT_AS not in caller.roles:
            raise ServiceError(
                ErrorKind.PERMISSION_DENIED, "ACT_AS_DENIED", f"this credential lacks the role {ROLE_ACT_AS}"
            )
        return _acting(caller, tenant, user)

    @staticmethod
    def _identify(metadata: Mapping[str, str | bytes], table: TokenTable) -> Principal:
        header = metadata.get(AUTHORIZATION)
        if not isinstance(header, str) or header[: len(_SCHEME)].lower() != _SCHEME:
            raise ServiceError(
                ErrorKind.UNAUTHENTICATED, "TOKEN_MISSING", "send metadata `authorization: Bearer <token>`"
            )
        principal = table.get(hashlib.sha256(header[len(_SCHEME) :].strip().encode()).digest())
        if principal is None:
            raise ServiceError(ErrorKind.UNAUTHENTICATED, "TOKEN_UNKNOWN", "the bearer token is not known")
        return principal


def _acting(caller: Principal, tenant: str | bytes | None, user: str | bytes | None) -> Principal:
    tenant = caller.tenant if tenant is None else tenant
    user = caller.user if user is None else user
    if not isinstance(tenant, str) or not is_tenant_name(tenant):
        raise ServiceError(
            ErrorKind.INVALID_ARGUMENT, "INVALID_TENANT", f"{ACT_AS_TENANT} must match {_TENANT.pattern}"
        )
    if not isinstance(user, str) or not _USER.fullmatch(user):
        raise ServiceError(
            ErrorKind.INVALID_ARGUMENT, "INVALID_USER", f"{ACT_AS_USER} must be printable ASCII, 1 to 128"
        )
    return Principal(tenant=tenant, user=user, roles=caller.roles)
