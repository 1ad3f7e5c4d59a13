"""What a fake server answers: the shapes of vLLM 0.26.0's HTTP interface, with no model behind them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler
from typing import Any, TypeAlias

Answer: TypeAlias = tuple[int, str]
"""Status and body."""


def models(model: str) -> Answer:
    """Of ``/v1/models``."""
    entry = {"id": model, "object": "model", "owned_by": "vllm", "max_model_len": 256}
    return 200, json.dumps({"object": "list", "data": [entry]})


def metrics(model: str, requests: int, tokens: int) -> Answer:
    """Of ``/metrics``: how many requests ended as they should, and the tokens that they were given."""
    name = f'engine="0",model_name="{model}"'
    ended = f'engine="0",finished_reason="length",model_name="{model}"'
    lines = (
        f"vllm:num_requests_running{{{name}}} 0.0",
        f"vllm:generation_tokens_total{{{name}}} {float(tokens)}",
        f"vllm:request_success_total{{{ended}}} {float(requests)}",
    )
    return 200, "\n".join(lines) + "\n"


def completion(model: str, text: str, prompt: str, tokens: int) -> Answer:
    """Of ``/v1/completions``, not streamed; a word counts as a token."""
    asked = len(prompt.split())
    choice = {"index": 0, "text": text, "logprobs": None, "finish_reason": "length", "stop_reason": None}
    usage = {"prompt_tokens": asked, "completion_tokens": tokens, "total_tokens": asked + tokens}
    answer = {"id": "cmpl-fake", "object": "text_completion", "created": 0, "model": model, "choices": [choice]}
    return 200, json.dumps(answer | {"usage": usage})


def handler(respond: Callable[[str, Mapping[str, Any]], Answer | None]) -> type[BaseHTTPRequestHandler]:
    """A handler for http.server that asks ``respond`` (path, JSON body) for each answer, and hangs up where it gives
    none."""

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            answer = respond(self.path.partition("?")[0], json.loads(self.rfile.read(length) or b"{}"))
            if answer is None:
                self.close_connection = True
                return
            status, text = answer
            body = text.encode()
            self.send_response(status)
            self.send_header(
                "Content-Type", "application/json" if text.startswith("{") else "text/plain; charset=utf-8"
            )
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = answer  # noqa: N815 (the names that http.server looks for)

        def log_message(self, *_: Any) -> None:
            """Say nothing: a script has its own lines."""

    return Handler
