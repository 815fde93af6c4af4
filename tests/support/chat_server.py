"""A real HTTP server that speaks chat completions, as far as clients of it can tell."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True, slots=True)
class Reply:
    """What the server does with one request: wait, then answer with a status and a body."""

    text: str | None = ""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    error: str = ""
    refusal: str | None = None
    finish: str = "stop"
    delay_s: float = 0.0
    raw: bytes | None = None


class Completions:
    """Answers with `replies` in turn, and with the last for ever; keeps what it was asked."""

    def __init__(self, *replies: Reply) -> None:
        self.replies = list(replies)
        self.asked: list[dict[str, Any]] = []
        self.keys: list[str] = []
        self.times: list[float] = []
        self._lock = threading.Lock()
        self.url = ""

    def take(self, body: dict[str, Any], key: str) -> Reply:
        """Note a request and return its reply; `text` may name the prompt with {prompt}."""
        with self._lock:
            self.asked.append(body)
            self.keys.append(key)
            self.times.append(time.monotonic())
            return self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]

    @property
    def prompts(self) -> list[str]:
        """The prompts that it was asked about."""
        return [_prompt(each) for each in self.asked]


def _prompt(body: dict[str, Any]) -> str:
    content = body["messages"][-1]["content"]
    return str(content if isinstance(content, str) else content[0]["text"])


class _Server(ThreadingHTTPServer):
    completions: Completions


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, *_: object) -> None:
        return

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        reply = self.server.completions.take(body, self.headers.get("Authorization", ""))
        time.sleep(reply.delay_s)
        if self.path != "/v1/chat/completions":
            self._send(404, {}, b'{"error": {"message": "no such path"}}')
        elif reply.raw is not None:
            self._send(reply.status, reply.headers, reply.raw)
        elif reply.status != 200:
            error = json.dumps({"error": {"message": reply.error}}).encode()
            self._send(reply.status, reply.headers, error)
        elif body.get("stream"):
            self._stream(_chunks(reply, body))
        else:
            self._send(200, reply.headers, json.dumps(_whole(reply, body)).encode())

    def _send(self, status: int, headers: dict[str, str], data: bytes) -> None:
        try:
            self.send_response(status)
            for name, value in {"Content-Type": "application/json", **headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True  # the client did not wait

    def _stream(self, chunks: Sequence[dict[str, Any]]) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        for chunk in chunks:
            self.wfile.write(f"data: {json.dumps(chunk)}\n\n".encode())
            self.wfile.flush()
        self.wfile.write(b"data: [DONE]\n\n")
        self.close_connection = True


@contextmanager
def serving(*replies: Reply) -> Iterator[Completions]:
    """Serve on a free port of this machine."""
    server = _Server(("127.0.0.1", 0), _Handler)
    made = server.completions = Completions(*replies)
    made.url = f"http://127.0.0.1:{server.server_port}/v1"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield made
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _text(reply: Reply, body: dict[str, Any]) -> str | None:
    return reply.text and reply.text.replace("{prompt}", _prompt(body))


def _whole(reply: Reply, body: dict[str, Any]) -> dict[str, Any]:
    message = {"role": "assistant", "content": _text(reply, body), "refusal": reply.refusal}
    return {
        "id": "c",
        "object": "chat.completion",
        "created": 0,
        "model": body["model"],
        "choices": [{"index": 0, "message": message, "finish_reason": reply.finish}],
    }


def _chunks(reply: Reply, body: dict[str, Any]) -> list[dict[str, Any]]:
    text = _text(reply, body) or ""
    middle = len(text) // 2
    deltas: list[tuple[dict[str, Any], str | None]] = [
        ({"role": "assistant", "content": ""}, None),
        ({"content": text[:middle]}, None),
        ({"content": text[middle:], "refusal": reply.refusal}, None),
        ({}, reply.finish),
    ]
    head = {"id": "c", "object": "chat.completion.chunk", "created": 0, "model": body["model"]}
    choices = [[{"index": 0, "delta": d, "finish_reason": end}] for d, end in deltas]
    # Some servers end with a piece that has no choice at all.
    return [{**head, "choices": each} for each in (*choices, [])]
