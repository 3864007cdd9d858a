"""What a service's metrics endpoint shows, read as Prometheus reads it."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.request import urlopen

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from tests.support.processes import ServiceProcess

_TIMEOUT_S = 10


@dataclass(frozen=True, slots=True)
class Scrape:
    """The samples of one scrape."""

    samples: tuple[Sample, ...]

    def value(self, name: str, **labels: str) -> float:
        """Return the sum over the samples of a name that have these labels; 0 when there is none."""
        return sum(
            each.value for each in self.samples if each.name == name and labels.items() <= each.labels.items()
        )

    def since(self, earlier: Scrape, name: str, **labels: str) -> float:
        """Return by how much a value has grown."""
        return self.value(name, **labels) - earlier.value(name, **labels)


def scrape(service: ServiceProcess) -> Scrape:
    """Read a service's metrics now."""
    with urlopen(f"http://127.0.0.1:{service.metrics_port}/metrics", timeout=_TIMEOUT_S) as response:
        text = response.read().decode()
    families = text_string_to_metric_families(text)
    return Scrape(tuple(sample for family in families for sample in family.samples))
