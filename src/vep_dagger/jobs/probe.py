"""Asking a vLLM server: ``/health``, ``/version``, ``/v1/completions``, ``/metrics``. Standard endpoints of every
release."""

from __future__ import annotations

import json
import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import anyio

if TYPE_CHECKING:
    import httpx

HEALTH_S = 5.0
"""Seconds that ``/health`` may take."""

_FINISHED = re.compile(
    r'^vllm:request_success_total\{[^}]*finished_reason="(?P<reason>[a-z]+)"[^}]*\} (?P<count>[0-9.e+]+)$', re.MULTILINE
)


class ProbeError(Exception):
    """A server did not answer as it must; the message says what it did instead."""


@dataclass(frozen=True, slots=True)
class Completion:
    """One answer: its text, its number of tokens, and the seconds it took."""

    text: str
    tokens: int
    seconds: float


class Probe:
    """Asks one server; closes its connections when left."""

    def __init__(self, url: str, timeout_s: float) -> None:
        import httpx

        # httpx counts each read by itself: a server that sends a byte now and then would be waited for without an end.
        self._timeout_s = timeout_s
        # A proxy that the surroundings name is never meant for a server that we started.
        self._client: httpx.AsyncClient = httpx.AsyncClient(base_url=url, timeout=timeout_s, trust_env=False)

    async def __aenter__(self) -> Probe:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()

    async def healthy(self) -> bool:
        """Whether ``/health`` answers 200 now."""
        import httpx

        try:
            with anyio.fail_after(HEALTH_S):
                return (await self._client.get("/health")).status_code == 200
        except (httpx.HTTPError, TimeoutError):
            return False

    async def version(self) -> str:
        """What ``/version`` says. Raises ProbeError."""
        answer = await self._ask("GET", "/version")
        version = answer.get("version")
        if not isinstance(version, str):
            raise ProbeError(f"/version answered {json.dumps(answer)[:200]}")
        return version

    async def complete(self, model: str, prompt: str, max_tokens: int) -> Completion:
        """A greedy completion of ``prompt``. Raises ProbeError."""
        began = time.monotonic()
        body = {"model": model, "prompt": prompt, "max_tokens": max_tokens, "temperature": 0, "seed": 0}
        answer = await self._ask("POST", "/v1/completions", body)
        try:
            text, tokens = answer["choices"][0]["text"], answer["usage"]["completion_tokens"]
        except (KeyError, IndexError, TypeError):
            raise ProbeError(f"/v1/completions answered {json.dumps(answer)[:200]}") from None
        if not isinstance(text, str) or not isinstance(tokens, int) or tokens < 1:
            raise ProbeError(f"/v1/completions answered no tokens: {json.dumps(answer)[:200]}")
        return Completion(text, tokens, time.monotonic() - began)

    async def _ask(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        import httpx

        try:
            with anyio.fail_after(self._timeout_s):
                answer = await self._client.request(method, path, json=body)
        except (httpx.TimeoutException, TimeoutError):
            raise ProbeError(f"{path} did not answer within {self._timeout_s:g} s") from None
        except httpx.HTTPError as error:
            raise ProbeError(f"{path}: {type(error).__name__}: {error}".rstrip(": ")) from None
        if answer.status_code != 200:
            raise ProbeError(f"{path} answered {answer.status_code}: {answer.text[:200]}")
        try:
            data = answer.json()
        except ValueError:
            raise ProbeError(f"{path} answered no JSON: {answer.text[:200]}") from None
        if not isinstance(data, dict):
            raise ProbeError(f"{path} answered {answer.text[:200]}")
        return data


def finished_requests(metrics: str) -> dict[str, float]:
    """The server's own count of finished requests by reason (``length``, ``stop``, ``error``, …), all engines together,
    from ``/metrics``."""
    counts: dict[str, float] = {}
    for match in _FINISHED.finditer(metrics):
        counts[match["reason"]] = counts.get(match["reason"], 0.0) + float(match["count"])
    return counts
