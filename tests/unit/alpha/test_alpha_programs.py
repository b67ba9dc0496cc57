"""The programs of the alphas against a server on the loopback."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar
from urllib.parse import parse_qs, urlsplit

import pytest

from strategies.alpha import run, submit
from strategies.decoding import decode_series
from tests.sdk.activations import wire_activation

CALENDAR = Path(__file__).resolve().parents[3] / "config" / "calendars" / "XNYS.csv"


class Server(BaseHTTPRequestHandler):
    """Says that every gate is open, and counts what comes in."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    authorizations: ClassVar[set[str | None]] = set()
    bound: ClassVar[list[object]] = []
    rows: ClassVar[dict[str, int]] = {}

    def do_GET(self) -> None:
        asked = parse_qs(urlsplit(self.path).query)
        strategy_id, side = asked["strategy_id"][0], asked["side"][0]
        self._answer(wire_activation(world_id="demo", mode="replay", strategy_id=strategy_id, side=side))

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path.endswith("/bindings"):
            self.bound.extend(json.loads(body)["strategies"])
        else:
            self.rows[self.path] = len(decode_series(body, content_type=self.headers["Content-Type"]).rows)
        self._answer({})

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is the base class's
        pass

    def _answer(self, value: object) -> None:
        self.authorizations.add(self.headers["Authorization"])
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Lease-Ms", "60000")
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def common(tmp_path: Path) -> Iterator[list[str]]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    token = tmp_path / "token"
    token.write_text("the-token\n")
    address = f"http://127.0.0.1:{server.server_address[1]}"
    yield ["--server", address, "--token-file", str(token), "--world", "demo"]
    server.shutdown()
    thread.join()
    server.server_close()


def test_run_asks_the_gate_and_prints_what_it_was_told(common: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    code = run.main(
        [*common, "--strategy-id", "reversal-3.MSFT", "--venue-mode", "replay", "--after", "2013-02-01", "--every", "0"]
    )

    lines = capsys.readouterr().out.splitlines()
    assert code == 0
    assert lines[0] == "reversal-3.MSFT long: gate READY"
    assert lines[1].endswith("entry long MSFT: allowed, weight 0.1200 (active)")
    assert lines[2].endswith("exit long MSFT: allowed, weight 1.0000 (active)")


def test_run_trades_the_sessions_that_it_is_told_of(
    common: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("2013-02-05\n2013-02-06\n2013-02-09\n"))

    run.main([*common, "--strategy-id", "momentum-250.GOOG", "--venue-mode", "replay", "--stdin"])

    assert capsys.readouterr().out.splitlines() == [
        "momentum-250.GOOG long: gate READY",
        "2013-02-05 entry long GOOG: allowed, weight 0.1200 (active)",
    ]


def test_run_refuses_an_alpha_that_does_not_exist(common: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run.main([*common, "--strategy-id", "none"]) == 2
    assert "no alpha none" in capsys.readouterr().err


@pytest.mark.slow
def test_submit_binds_the_catalog_and_sends_every_history(
    common: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    code = submit.main([*common, "--calendar", str(CALENDAR), "--after", "2011-12-30"])

    assert code == 0
    assert len(Server.bound) == 246
    assert len(Server.rows) == 246
    assert Server.rows["/worlds/demo/strategies/sma-5-20.AAPL/returns?side=short"] == 291
    assert Server.authorizations == {"Bearer the-token"}
    assert capsys.readouterr().out.splitlines()[-1].startswith("246 of 246 strategies, ")
