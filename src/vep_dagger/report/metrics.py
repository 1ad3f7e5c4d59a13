"""What the figures of ``vllm bench serve`` are called, their units, and which way is better."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

Better: TypeAlias = Literal["higher", "lower"]


@dataclass(frozen=True, slots=True)
class Metric:
    """One figure: its name in the result file, what people call it, its unit, and which way is better."""

    name: str
    label: str
    unit: str
    better: Better

    @property
    def heading(self) -> str:
        """The label with its unit: ``p99 TTFT (ms)``."""
        return f"{self.label} ({self.unit})" if self.unit else self.label


KNOWN: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("request_throughput", "request throughput", "req/s", "higher"),
        Metric("output_throughput", "output throughput", "tok/s", "higher"),
        Metric("total_token_throughput", "total throughput", "tok/s", "higher"),
        *(
            Metric(f"{statistic}_{what.lower()}_ms", f"{statistic} {what}", "ms", "lower")
            for what in ("TTFT", "TPOT", "ITL")
            for statistic in ("mean", "median", "p99")
        ),
    )
}
"""The figures that a matrix file can gate on or pick by, in the order of the report's columns."""

SHOWN = (
    "output_throughput", "request_throughput", "median_ttft_ms", "p99_ttft_ms", "median_tpot_ms", "p99_tpot_ms",
)  # fmt: skip
"""The figures of the report's tables; every other one is in ``results.csv``."""


def metric(name: str) -> Metric:
    """The figure of that name; one that is not known is described by its name alone."""
    known = KNOWN.get(name)
    if known is not None:
        return known
    if name.endswith("_ms"):
        return Metric(name, name.removesuffix("_ms").replace("_", " "), "ms", "lower")
    return Metric(name, name.replace("_", " "), "", "higher")
