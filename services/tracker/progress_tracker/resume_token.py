"""Resume tokens: where a watcher continues, signed, good for one tenant's one history of one job."""

from __future__ import annotations

import base64
import binascii
import hmac
import struct

from service_common.errors import ErrorKind, ServiceError

KEY_BYTES = 32
_MAC_BYTES = 16
_SIZE = 8 + _MAC_BYTES


class ResumeTokens:
    """Makes and opens tokens.

    A token holds a sequence number and a MAC over tenant, job, history and number, so it fits nowhere else.
    """

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise ValueError(f"the key has {KEY_BYTES} bytes")
        self._key = key

    def make(self, tenant: str, job_id: str, *, log_id: str, sequence: int) -> str:
        """Return the token that continues after an event; sequence 0 is before the first."""
        number = struct.pack(">Q", sequence)
        sealed = number + self._mac(tenant, job_id, log_id, number)
        return base64.urlsafe_b64encode(sealed).decode()

    def open(self, token: str, tenant: str, *, job_id: str, log_id: str) -> int:
        """Return the number after which the token continues.

        Raises:
            ServiceError: INVALID_ARGUMENT if it was not made for this history.
        """
        try:
            sealed = base64.b64decode(token, altchars=b"-_", validate=True)
        except (binascii.Error, ValueError) as error:
            raise invalid_resume_token() from error
        number, mac = sealed[:8], sealed[8:]
        if len(sealed) != _SIZE or not hmac.compare_digest(mac, self._mac(tenant, job_id, log_id, number)):
            raise invalid_resume_token()
        return int(struct.unpack(">Q", number)[0])

    def _mac(self, tenant: str, job_id: str, log_id: str, number: bytes) -> bytes:
        text = f"{tenant}\0{job_id}\0{log_id}\0".encode()
        return hmac.digest(self._key, text + number, "sha256")[:_MAC_BYTES]


def invalid_resume_token() -> ServiceError:
    """Make the error for a token that is not of this job's history."""
    return ServiceError(
        ErrorKind.INVALID_ARGUMENT,
        "INVALID_RESUME_TOKEN",
        "resume_token: not a token of this job; leave it empty to begin with the first event",
    )
