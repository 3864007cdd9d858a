"""Decision ids: they say which tenant's version was chosen, and cannot be made up.

An id needs no storage: it carries what an outcome must be booked on, sealed with a key kept in the store.
Equal requests get equal ids.
"""

from __future__ import annotations

import hmac
import re
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from hashlib import blake2b

from service_common.errors import ErrorKind, FieldViolation, ServiceError
from service_common.frozen import dataclass

from prompt_optimizer.templates.template import Family

CONTROL = "control"
KEY_BYTES = 32
_FORM = re.compile(
    r"d1\.([a-z][a-z0-9_]{0,62})?\.(\d{1,12})\.(\d{1,9})\.([a-z][a-z0-9_]{0,15})"
    r"\.([a-z][a-z0-9_]{0,62})\.([0-9a-f]{16})\.([A-Za-z0-9_-]{16})"
)


@dataclass(frozen=True, slots=True)
class Decision:
    """What was chosen for one request.

    Attributes:
        family: The template's; with an empty id for a raw prompt.
        version: The version used; 0 for a raw prompt.
        content_type: What the output is.
        unit: The sticky unit: equal for equal tenant, template and variables, whatever version is active.
        arm: The arm of the experiment; `CONTROL` outside of any.
    """

    family: Family
    version: int
    content_type: str
    unit: str
    arm: str = CONTROL

    @property
    def raw(self) -> bool:
        """Whether it was made for a raw prompt."""
        return not self.family.template_id


def sticky_unit(tenant: str, template_id: str, variables: Mapping[str, str]) -> str:
    """Return the 16 hexadecimal digits that stay the same for the same piece of work."""
    digest = blake2b(digest_size=8)
    for part in (tenant, template_id, *(text for pair in sorted(variables.items()) for text in pair)):
        raw = part.encode()
        digest.update(b"%d:" % len(raw))
        digest.update(raw)
    return digest.hexdigest()


class DecisionIds:
    """Writes and reads decision ids with one secret key."""

    __slots__ = ("_key",)

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise ValueError(f"the key has {KEY_BYTES} bytes")
        self._key = key

    def write(self, tenant: str, decision: Decision) -> str:
        """Return the id, at most 256 bytes."""
        body = (
            f"d1.{decision.family.template_id}.{decision.family.born}.{decision.version}.{decision.arm}"
            f".{decision.content_type}.{decision.unit}"
        )
        return f"{body}.{self._seal(tenant, body)}"

    def read(self, tenant: str, text: str) -> Decision:
        """Return what an id says.

        Raises:
            ServiceError: INVALID_ARGUMENT with reason INVALID_DECISION if this service did not make it for
                this tenant.
        """
        match = _FORM.fullmatch(text)
        body, _, seal = text.rpartition(".")
        if match is None or not hmac.compare_digest(seal, self._seal(tenant, body)):
            raise ServiceError(
                ErrorKind.INVALID_ARGUMENT,
                "INVALID_DECISION",
                "decision_id: was not made by this service for this tenant",
                violations=(FieldViolation("decision_id", "was not made by this service for this tenant"),),
            )
        template_id, born, version, arm, content_type, unit = match.groups()[:6]
        return Decision(Family(template_id or "", int(born)), int(version), content_type, unit, arm)

    def _seal(self, tenant: str, body: str) -> str:
        digest = blake2b(f"{tenant}\0{body}".encode(), key=self._key, digest_size=12).digest()
        return urlsafe_b64encode(digest).decode()
