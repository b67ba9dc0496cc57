"""The example in the docs does what it says."""

from __future__ import annotations

import json
import runpy
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.sdk.activations import STRATEGY, WORLD, wire_activation

EXAMPLE = Path(__file__).resolve().parents[2] / "docs" / "examples" / "order_gate.py"


class OpenGate(BaseHTTPRequestHandler):
    """Says that the long side is open at a quarter of the capital."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Lease-Ms", "5000")
        self.end_headers()
        self.wfile.write(json.dumps(wire_activation(weight=0.25)).encode())

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is the base class's
        pass


def test_example_scales_the_entry_and_lets_the_exit_pass(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    token = tmp_path / "token"
    token.write_text("the-token")
    server = ThreadingHTTPServer(("127.0.0.1", 0), OpenGate)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()

    runpy.run_path(str(EXAMPLE))["main"](f"http://127.0.0.1:{server.server_address[1]}", str(token), WORLD, STRATEGY)

    server.shutdown()
    thread.join()
    server.server_close()
    assert capsys.readouterr().out.splitlines() == [
        "to the venue: 25 AAPL long",
        "to the venue: 40 AAPL long",
        "gate: READY, entries: active",
    ]
