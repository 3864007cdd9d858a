"""In whose name a neighbour is called."""

from __future__ import annotations

from parallel_processor.running.ports import Owner


class Acting:
    """Decides whose identity calls carry: the stored job's, where this service may act for others."""

    def __init__(self, *, has_credential: bool) -> None:
        """Without a credential of its own, as on loopback without a tokens file, there is one tenant only."""
        self._has_credential = has_credential

    def as_owner(self, owner: Owner) -> tuple[str, str] | None:
        """Return the tenant and user to act as; None to call as oneself."""
        return (owner.tenant, owner.user) if self._has_credential else None
