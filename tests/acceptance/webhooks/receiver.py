"""Answers each callback by whether the documented function takes it for genuine."""

from __future__ import annotations

import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import module_from_spec, spec_from_file_location
from typing import Any

from standardwebhooks import WebhookVerificationError


def load(path: str) -> Any:
    spec = spec_from_file_location("verify", path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Receiver(BaseHTTPRequestHandler):
    verify: Any

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        try:
            payload = self.verify.receive(body, dict(self.headers))
        except WebhookVerificationError:
            status = 401
        else:
            status = 204 if payload == {"greeting": "grüß"} else 422
        self.send_response(status)
        self.end_headers()


def main() -> None:
    Receiver.verify = load(sys.argv[1])
    server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    sys.stdout.write(f"{server.server_port}\n")
    sys.stdout.flush()
    server.serve_forever()


if __name__ == "__main__":
    main()
