"""A stand-in for pipelock's scan API that knows one secret."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self


class ScanApiStandIn:
    """Runs in a thread; `answers` come first, and only then verdicts of its own."""

    def __init__(self, secret: str = "") -> None:
        self.answers: list[Any] = []
        self.asked: list[Any] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                question = self.rfile.read(int(self.headers["Content-Length"]))
                outer.asked.append(json.loads(question))
                body = outer.verdict(question.decode(), secret)
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_port
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever)

    def verdict(self, question: str, secret: str) -> bytes:
        if self.answers:
            answer = self.answers.pop(0)
            return answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        if secret and secret in question:
            findings = [{"message": "a secret"}]
            denied = {"status": "completed", "decision": "deny", "findings": findings}
            return json.dumps(denied).encode()
        return json.dumps({"status": "completed", "decision": "allow"}).encode()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
