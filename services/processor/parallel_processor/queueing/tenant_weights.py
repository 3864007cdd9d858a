"""The shares of tenants, as an operator writes them."""

from __future__ import annotations

from collections.abc import Mapping

LEAST, MOST = 0.01, 100.0


def parse_tenant_weights(text: str) -> Mapping[str, float]:
    """Read weights like `acme=3, globex=0.5`; empty: none.

    Raises:
        ValueError: If an entry is no tenant with a weight from 0.01 to 100, or a tenant is named twice.
    """
    weights: dict[str, float] = {}
    for entry in filter(None, (each.strip() for each in text.split(","))):
        tenant, _, number = (part.strip() for part in entry.partition("="))
        try:
            weight = float(number)
        except ValueError:
            weight = 0.0
        if not tenant or not LEAST <= weight <= MOST:
            raise ValueError(f"{entry!r} is not TENANT=WEIGHT with a weight from {LEAST:g} to {MOST:g}")
        if tenant in weights:
            raise ValueError(f"tenant {tenant!r} is named twice")
        weights[tenant] = weight
    return weights
