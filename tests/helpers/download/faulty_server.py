"""A local HTTP server whose answers fail on demand, alone or in front of another server."""

import contextlib
import threading
import time
from collections import deque
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

PIECE = 100_000


class FaultyServer:
    """Answers GET by `answer(path, query, headers) -> (status, headers, body)`; `faults` befall the next requests.

    A fault is None (nothing), "drop" (half of the body, then the connection is closed), "refuse" (closed at once),
    "corrupt" (one byte of the body is changed), or (status, headers) in place of the answer.
    """

    def __init__(self, answer, ranges=True):
        self.answer, self.ranges = answer, ranges
        self.faults: deque[Any] = deque()
        self.pause = 0.0  # after each PIECE of a body
        self.requests: list[tuple[float, str, dict[str, str]]] = []  # (time, path with query, headers)
        lock = threading.Lock()
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                with lock:
                    owner.requests.append((time.monotonic(), self.path, dict(self.headers)))
                    fault = owner.faults.popleft() if owner.faults else None
                if fault == "refuse":
                    self.close_connection = True
                    return
                if isinstance(fault, tuple):
                    status, headers, body = fault[0], fault[1], b"busy"
                else:
                    url = urlsplit(self.path)
                    query = {key: values[0] for key, values in parse_qs(url.query).items()}
                    status, headers, body = owner.answer(url.path, query, self.headers)
                    wanted = self.headers.get("Range")
                    if (
                        owner.ranges
                        and wanted
                        and status == 200
                        and self.headers.get("If-Range") == headers.get("ETag")
                    ):
                        start = int(wanted.removeprefix("bytes=").partition("-")[0])
                        if start >= len(body):
                            status, headers, body = 416, {"Content-Range": f"bytes */{len(body)}"}, b""
                        else:
                            span = f"bytes {start}-{len(body) - 1}/{len(body)}"
                            status, headers, body = 206, {**headers, "Content-Range": span}, body[start:]
                if fault == "corrupt":
                    body = body[:-2] + bytes([body[-2] ^ 0x55]) + body[-1:]
                self.send_response(status)
                for key, value in headers.items():
                    self.send_header(key, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                sent = body[: len(body) // 2] if fault == "drop" else body
                for start in range(0, len(sent), PIECE):
                    self.wfile.write(sent[start : start + PIECE])
                    time.sleep(owner.pause)
                if fault == "drop":
                    self.close_connection = True

            def log_message(self, *arguments):
                pass

        class Server(ThreadingHTTPServer):
            def handle_error(self, request, client_address):
                pass  # a client that was killed

        self.server = Server(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, args=[0.01], daemon=True).start()
        return self

    def __exit__(self, *error):
        self.server.shutdown()
        self.server.server_close()


def in_front_of(url):
    """An `answer` that passes requests on to another server (which serves ranges itself)."""
    place = urlsplit(url)

    def answer(path, query, headers):
        with contextlib.closing(HTTPConnection(place.hostname, place.port, timeout=30)) as connection:
            connection.request("GET", path, headers={key: value for key, value in headers.items() if key != "Host"})
            response = connection.getresponse()
            skipped = {"content-length", "connection", "transfer-encoding", "date", "server"}
            kept = {key: value for key, value in response.getheaders() if key.lower() not in skipped}
            return response.status, kept, response.read()

    return answer


def serve(body, **headers):
    return FaultyServer(lambda path, query, received: (200, headers, body))
