"""Reads Prometheus' text format as a scrape would."""

from collections.abc import Mapping

from prometheus_client.parser import text_string_to_metric_families


class Samples:
    """What one scrape showed."""

    def __init__(self, text: str) -> None:
        self._samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]

    @property
    def names(self) -> set[str]:
        return {sample.name for sample in self._samples}

    def value(self, name: str, **labels: str) -> float | None:
        """Return the sum of the samples that have these labels, or None if there is none."""
        values = [s.value for s in self._samples if s.name == name and self._has(s.labels, labels)]
        return sum(values) if values else None

    def labels(self, name: str, label: str) -> set[str]:
        """Return the values that a label takes."""
        return {sample.labels[label] for sample in self._samples if sample.name == name}

    @staticmethod
    def _has(labels: Mapping[str, str], wanted: Mapping[str, str]) -> bool:
        return wanted.items() <= labels.items()
