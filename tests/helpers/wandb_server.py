"""A server of one run at Weights & Biases, as far as wandb-core speaks with it: what it uploads is kept in lists."""

from __future__ import annotations

import gzip
import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class _Http(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exc_info()[1], ConnectionError):  # wandb-core ends without closing what it has open
            super().handle_error(request, client_address)


class WandbServer:
    """Serves on the loopback while it is entered.

    `history`: the rows that have come, in their order. `config`: the last that was sent. `broken`: every request fails,
    as where a proxy has lost its way out.
    """

    def __init__(self) -> None:
        self.history: list[dict[str, Any]] = []
        self.config: dict[str, Any] = {}
        self.broken = False
        self.http = _Http(("127.0.0.1", 0), _handler(self))
        self.url = f"http://127.0.0.1:{self.http.server_port}"

    def __enter__(self) -> WandbServer:
        threading.Thread(target=self.http.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.http.shutdown()
        self.http.server_close()

    def rows(self, *keys: str) -> list[tuple[Any, ...]]:
        """Figures of each row, None where it has none."""
        return [tuple(row.get(key) for key in keys) for row in self.history]

    def answer(self, operation: str, variables: dict[str, Any]) -> dict[str, Any]:
        """Data of a GraphQL operation; empty for those that a run can do without."""
        project = {"id": "p", "name": variables.get("project"), "entity": {"id": "e", "name": "me"}}
        lines = [json.dumps(row) for row in self.history]
        if operation == "Viewer":
            return {"viewer": {"id": "v", "entity": "me", "username": "me", "flags": "{}", "teams": {"edges": []}}}
        if operation == "RunResumeStatus":
            if not lines:
                return {"model": None}
            bucket = {"id": "b", "name": variables["name"], "displayName": "run", "config": json.dumps(self.config)}
            bucket |= {"logLineCount": 0, "historyLineCount": len(lines), "eventsLineCount": 0, "eventsTail": "[]"}
            bucket |= {"historyTail": json.dumps(lines[-1:]), "summaryMetrics": lines[-1], "wandbConfig": '{"t": 1}'}
            return {"model": project | {"bucket": bucket}}
        if operation == "UpsertBucket":
            self.config = json.loads(variables.get("config") or "null") or self.config
            bucket = {"id": "b", "name": variables["name"], "historyLineCount": len(lines), "project": project}
            return {"upsertBucket": {"inserted": not lines, "bucket": bucket}}
        if operation == "CreateRunFiles":
            files = [{"name": name, "uploadUrl": f"{self.url}/file/{name}"} for name in variables["files"]]
            return {"createRunFiles": {"runID": "b", "uploadHeaders": [], "files": files}}
        if operation == "ServerFeaturesQuery":
            return {"serverInfo": {"features": []}}
        return {}

    def stream(self, files: dict[str, dict[str, Any]]) -> None:
        """Lines of a run's files from an offset on; those of the history are kept."""
        if part := files.get("wandb-history.jsonl"):
            assert part["offset"] <= len(self.history), part
            self.history[part["offset"] :] = [json.loads(line) for line in part["content"]]


def _handler(server: WandbServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            reply: dict[str, Any] = {}
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            if self.path.endswith("/graphql"):
                query = json.loads(body)
                reply = {"data": server.answer(query["operationName"], query.get("variables") or {})}
            elif self.path.endswith("/file_stream"):
                server.stream(json.loads(body).get("files") or {})
            data = json.dumps(reply).encode()
            self.send_response(503 if server.broken else 200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_PUT = do_POST

        def log_message(self, *_: object) -> None:
            """Nothing: the screen is the test's."""

    return Handler
