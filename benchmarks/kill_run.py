"""Time kills on the database that the environment names, while transactions hang and the web process is full.

``benchmarks.kill`` starts it. The last line that it prints is JSON: milliseconds by where the kills came from.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Final

from django.conf import settings
from django.db import connections, transaction

from audit.models import AuditHead
from worlds.models import GateHold
from worlds.services.authority import act_of_shell
from worlds.services.changes import locked_world
from worlds.services.kills import kill
from worlds.services.registry import NewWorld, create_world
from worlds.services.tokens import create_token

WORLD: Final = "bench"
HOST: Final = "127.0.0.1"
FULL: Final = 12
"""More requests than the web process has threads and connections."""


def main() -> None:
    """Kill and kill again, and print what each took."""
    trials = int(os.environ["QW_BENCHMARK_TRIALS"])
    create_world(new=NewWorld(WORLD, lease_ms=1000), act=act_of_shell(reason="benchmark"))
    token = create_token(role="gateway", name="bench", act=act_of_shell(reason="benchmark")).text
    with ExitStack() as stack:
        port = stack.enter_context(_web())
        _ask(port, token, "POST", f"/worlds/{WORLD}/kill", timeout=30)
        stack.enter_context(_hanging())
        for _ in range(FULL):
            threading.Thread(target=_stuck, args=(port, token), daemon=True).start()
        time.sleep(1.0)
        inside = [_timed_kill(number) for number in range(trials)]
        over_http = [_timed_request(port, token, number) for number in range(trials)]
    kills = GateHold.objects.filter(world_id=WORLD, kind="kill").count()
    if kills != 2 * trials + 1:
        raise AssertionError(f"{kills} kills are on record")
    print(json.dumps({"from a process": inside, "over HTTP": over_http}))


def _timed_kill(number: int) -> float:
    """Kill another instance, so that each kill writes its row."""
    act = act_of_shell(reason="benchmark")
    started = time.perf_counter()
    kill(world_id=WORLD, scope=f"s{number}|long", act=act)
    return 1000 * (time.perf_counter() - started)


def _timed_request(port: int, token: str, number: int) -> float:
    body = {"scope": {"strategy_id": f"s{number}", "side": "short"}, "reason": "benchmark"}
    started = time.perf_counter()
    status = _ask(port, token, "POST", f"/worlds/{WORLD}/kill", body=body, timeout=30)
    taken = 1000 * (time.perf_counter() - started)
    if status != http.HTTPStatus.OK:
        raise AssertionError(f"a kill was answered with {status}")
    return taken


def _stuck(port: int, token: str) -> None:
    """Ask for something that waits for the world's row as long as this goes on."""
    try:
        _ask(port, token, "PATCH", f"/worlds/{WORLD}", body={"name": "x"}, timeout=600)
    except OSError:
        return


def _ask(port: int, token: str, method: str, path: str, *, timeout: float, body: object = None) -> int:
    connection = http.client.HTTPConnection(HOST, port, timeout=timeout)
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    connection.request(method, path, json.dumps(body or {}), headers)
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer.status


@contextmanager
def _hanging() -> Iterator[None]:
    """Hold the world's row and the end of its audit in a transaction that never ends."""
    held, over = threading.Event(), threading.Event()

    def hold() -> None:
        with transaction.atomic():
            locked_world(WORLD)
            AuditHead.objects.select_for_update().get(chain=WORLD)
            held.set()
            over.wait()
        connections.close_all()

    thread = threading.Thread(target=hold, daemon=True)
    thread.start()
    held.wait()
    try:
        yield
    finally:
        over.set()
        thread.join()


@contextmanager
def _web() -> Iterator[int]:
    """Serve the API in a process of its own."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port = int(probe.getsockname()[1])
    command = [sys.executable, "-m", "uvicorn", "qmtl_worlds.asgi:application", "--host", HOST, "--port", str(port)]
    command += ["--no-access-log", "--lifespan", "off", "--log-level", "error"]
    with subprocess.Popen(command, cwd=settings.BASE_DIR) as web:  # noqa: S603
        try:
            _wait_until_alive(port)
            yield port
        finally:
            web.kill()


def _wait_until_alive(port: int) -> None:
    for _ in range(600):
        try:
            if _ask(port, "", "GET", "/livez", timeout=5) == http.HTTPStatus.OK:
                return
        except OSError:
            time.sleep(0.1)
    raise AssertionError("the web process did not come up")


if __name__ == "__main__":
    main()
