"""Fake W&B servers on 127.0.0.1: one that answers all requests of a run until it is silenced, and broken ones."""

import json
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Any

PROJECT = {"id": "cA==", "name": "fitnets", "entity": {"id": "ZQ==", "name": "me"}}
BUCKET = {
    "id": "aWQ=", "description": "", "config": "{}", "sweepName": None, "historyLineCount": 0, "project": PROJECT
}  # fmt: skip
VIEWER = {
    "id": "VQ==", "entity": "me", "username": "me", "email": "me@here", "flags": "{}", "admin": False,
    "teams": {"edges": []}, "defaultEntity": {"name": "me"},
}  # fmt: skip


class FakeWandb(ThreadingHTTPServer):
    """A server that answers what W&B's client requests in a run.

    silent_on: parts of request names (GraphQL operations or paths) that get no response
    refusal: HTTP status of every response to a GraphQL operation; None: no refusal
    """

    def __init__(self, silent_on: tuple[str, ...] = (), refusal: int | None = None):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.silent_on, self.refusal = silent_on, refusal
        self.silence, self.ended = Event(), Event()
        self.requests: list[tuple[str, str]] = []

    def fall_silent(self) -> None:
        self.silence.set()

    def leave(self) -> None:
        self.shutdown()
        self.server_close()

    def handle_error(self, *_positional: Any) -> None:
        """Ignore errors of clients that close the connection."""

    def operations(self) -> list[str]:
        return [name for name, _ in self.requests]

    def bodies(self, part: str) -> str:
        """Return the bodies of the requests whose names contain the part."""
        return "\n".join(body for name, body in self.requests if part in name)

    def answer(self, operation: str, variables: dict[str, Any]) -> dict[str, Any]:
        match operation:
            case "UpsertBucket":
                name = variables.get("name")
                return {"upsertBucket": {"bucket": BUCKET | {"name": name, "displayName": name}, "inserted": True}}
            case "CreateRunFiles":
                files = [{"name": name, "uploadUrl": f"{self.url}/upload/{name}"} for name in variables["files"]]
                return {"createRunFiles": {"runID": "aWQ=", "uploadHeaders": [], "files": files}}
            case "Viewer":
                return {"viewer": VIEWER}
            case "ArtifactType":
                return {"project": {"artifact": None}}
            case "CreateArtifact":  # it exists already, so the client uploads nothing
                sequence = {"id": "UQ==", "latestArtifact": {"id": "QQ=="}}
                return {
                    "createArtifact": {"artifact": {"id": "QQ==", "state": "COMMITTED", "artifactSequence": sequence}}
                }
        return {}


class _Handler(BaseHTTPRequestHandler):
    server: FakeWandb

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0)).decode(errors="replace")
        operation = re.search(r"(?:mutation|query) (\w+)", body) if self.path == "/graphql" else None
        name = operation[1] if operation else self.path
        self.server.requests.append((name, body))
        if self.server.silence.is_set() or any(part in name for part in self.server.silent_on):
            self.server.ended.wait()
            return
        data = self.server.answer(name, json.loads(body).get("variables") or {}) if operation else {}
        content = json.dumps({"data": data, "errors": [{"message": "no"}]} if self.server.refusal else {"data": data})
        self.send_response((operation and self.server.refusal) or 200)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content.encode())

    do_POST = do_PUT = do_GET

    def log_message(self, *_positional: Any) -> None:
        pass


@contextmanager
def serving(**named: Any) -> Iterator[FakeWandb]:
    server = FakeWandb(**named)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    server.daemon_threads = True
    thread.start()
    try:
        yield server
    finally:
        server.ended.set()
        server.leave()
        thread.join()


@contextmanager
def gateway(status: int) -> Iterator[str]:
    """Serve HTTP without W&B: every response has this status."""

    class Handler(_Handler):
        def do_GET(self) -> None:
            self.send_error(status)

        do_POST = do_PUT = do_GET

    with serving() as server:
        server.RequestHandlerClass = Handler
        yield server.url


@contextmanager
def closed_port() -> Iterator[str]:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{unused.getsockname()[1]}"  # the port is bound, and nothing listens on it


@contextmanager
def black_hole() -> Iterator[str]:
    """Accept connections and never respond."""
    with socket.socket() as hole:
        hole.bind(("127.0.0.1", 0))
        hole.listen(64)
        yield f"http://127.0.0.1:{hole.getsockname()[1]}"
