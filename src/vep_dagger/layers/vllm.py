"""vLLM: its wheel, with what it must be resolved with.

Source: the metadata of the wheels on https://pypi.org/project/vllm/ (torch, FlashInfer and transformers as required by
each release, days of upload, machines that wheels are for).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta
from types import MappingProxyType

from packaging.version import Version as Parsed

RELEASED: Mapping[str, str] = MappingProxyType(
    {
        "0.9.0": "2025-05-28", "0.9.1": "2025-06-10", "0.9.2": "2025-07-08", "0.10.0": "2025-07-25",
        "0.10.1": "2025-08-19", "0.10.1.1": "2025-08-20", "0.10.2": "2025-09-13", "0.11.0": "2025-10-04",
        "0.11.1": "2025-11-19", "0.11.2": "2025-11-20", "0.12.0": "2025-12-03", "0.13.0": "2025-12-19",
        "0.14.0": "2026-01-20", "0.14.1": "2026-01-24", "0.15.1": "2026-02-05", "0.16.0": "2026-02-26",
        "0.17.0": "2026-03-07", "0.18.0": "2026-03-20", "0.18.1": "2026-03-31", "0.19.0": "2026-04-03",
        "0.20.0": "2026-04-27", "0.20.2": "2026-05-10", "0.21.0": "2026-05-15", "0.22.0": "2026-05-29",
        "0.23.0": "2026-06-15", "0.24.0": "2026-06-30", "0.25.0": "2026-07-11", "0.26.0": "2026-07-25",
        "0.27.0": "2026-08-10", "0.28.0": "2026-08-26", "0.29.0": "2026-09-09", "0.30.0": "2026-09-22",
        "0.31.0": "2026-10-05", "0.32.0": "2026-10-18", "0.33.0": "2026-11-02",
    }
)  # fmt: skip
"""The day on which the wheel was uploaded."""

TRANSFORMERS_BOUND = "0.11.1"
"""The first release that bounds transformers itself. Older ones take transformers 5, with which every import passes and
the tokenizer dies: ``TokenizersBackend has no attribute all_special_tokens_extended``."""

ON_ARM = "0.10.2"
"""The first release with a wheel for arm64."""


def requirements(release: str, flashinfer: str | None) -> tuple[str, ...]:
    """What is asked for: the wheel, FlashInfer at ``flashinfer`` where the release leaves it open, and a transformers
    that works.
    """
    bound = () if Parsed(release) >= Parsed(TRANSFORMERS_BOUND) else ("transformers<5",)
    return (f"vllm=={release}", *((f"flashinfer-python=={flashinfer}",) if flashinfer else ()), *bound)


def before(release: str) -> str | None:
    """The instant until which packages are seen, ten days after the upload: what the release was tested with, and
    the first corrections. None for a release whose day is not known.
    """
    day = RELEASED.get(release)
    return f"{date.fromisoformat(day) + timedelta(days=10)}T00:00:00Z" if day else None


def has_wheel(release: str, platform: str) -> bool:
    """Whether PyPI has a wheel of the release for ``linux/amd64`` or ``linux/arm64``."""
    return platform == "linux/amd64" or Parsed(release) >= Parsed(ON_ARM)
