"""Stand-ins for QMTL's clients, written from their behavior: how they ask, retry, cache and believe."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

import httpx
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

BUDGET_SECONDS: Final = 0.3
RETRIES: Final = 2
HEALTH_SECONDS: Final = 5.0
HEALTH_STEP_SECONDS: Final = 0.5
BREAKS_AFTER: Final = 3
SIDES: Final = ("long", "short")


@dataclass(slots=True)
class Gateway:
    """The client inside QMTL's Gateway: 0.3 s for each answer, two retries, a breaker that never closes again."""

    address: str
    token: str
    budget_seconds: float = BUDGET_SECONDS
    failures: int = 0
    retries: int = 0
    seconds: dict[str, list[float]] = field(default_factory=dict)
    decisions: dict[str, tuple[float, dict[str, Any]]] = field(default_factory=dict)
    activations: dict[str, tuple[str, dict[str, Any]]] = field(default_factory=dict)
    not_modified: int = 0
    _client: httpx.Client = field(default_factory=httpx.Client)

    def call(self, method: str, path: str, *, name: str = "", **given: Any) -> httpx.Response:
        """Ask, and ask again where no answer came in time; a retry waits for /health first."""
        for attempt in range(RETRIES + 1):
            if self.failures >= BREAKS_AFTER:
                raise RuntimeError("circuit open")
            if attempt:
                self.retries += 1
                self._wait_for_service()
            started = time.perf_counter()
            try:
                url, patience = self.address + path, self.budget_seconds
                response = self._client.request(method, url, timeout=patience, **self._with_headers(given))
            except httpx.TransportError:
                self.failures += 1
                continue
            finally:
                self.seconds.setdefault(name or f"{method} {path}", []).append(time.perf_counter() - started)
            self.failures = 0
            return response
        raise RuntimeError(f"no answer to {method} {path}")

    def decide(self, world_id: str) -> dict[str, Any]:
        """Return the decision, from the cache while its max-age lasts; no answer makes it compute-only."""
        until, kept = self.decisions.get(world_id, (0.0, {}))
        if time.monotonic() < until:
            return kept
        try:
            response = self.call("GET", f"/worlds/{world_id}/decide", name="GET decide")
        except RuntimeError:
            return {**kept, "effective_mode": "compute-only"}
        age = int(response.headers["cache-control"].removeprefix("max-age="))
        self.decisions[world_id] = (time.monotonic() + age, response.json())
        return self.decisions[world_id][1]

    def activation(self, world_id: str, strategy_id: str, side: str) -> dict[str, Any]:
        """Return the activation, by its ETag where it is known; no answer makes it inactive."""
        path = f"/worlds/{world_id}/activation?strategy_id={strategy_id}&side={side}"
        tag, kept = self.activations.get(path, ("", {}))
        headers = {"If-None-Match": tag} if tag else {}
        try:
            response = self.call("GET", path, name="GET activation", headers=headers)
        except RuntimeError:
            return {**kept, "active": False, "weight": 0.0, "effective_mode": "compute-only"}
        if response.status_code == 304:
            self.not_modified += 1
            return kept
        self.activations[path] = (response.headers["etag"], response.json())
        return self.activations[path][1]

    def close(self) -> None:
        """Let go of the connections."""
        self._client.close()

    def _with_headers(self, given: dict[str, Any]) -> dict[str, Any]:
        ours = {"Authorization": f"Bearer {self.token}", "X-Caller-Sub": "somebody", "X-World-Roles": "owner"}
        return {**given, "headers": {**ours, **given.get("headers", {})}}

    def _wait_for_service(self) -> None:
        deadline, pause = time.monotonic() + HEALTH_SECONDS, threading.Event()
        while time.monotonic() < deadline:
            try:
                if self._client.get(f"{self.address}/health", timeout=HEALTH_STEP_SECONDS).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            pause.wait(HEALTH_STEP_SECONDS)


class ActivationManager:
    """The part of QMTL's SDK that says whether a strategy may trade; it believes whatever it is told last.

    It polls only once a subscription has named a stream, keeps its last value on any answer but 200, and checks neither
    the strategy nor the order of events.
    """

    def __init__(self, address: str, token: str, *, world_id: str, strategy_id: str) -> None:
        self._address = address
        self._client = httpx.Client(timeout=2.0, headers={"Authorization": f"Bearer {token}"})
        self._world_id = world_id
        self._strategy_id = strategy_id
        self._sides: dict[str, dict[str, Any]] = {side: {} for side in SIDES}
        self._thread: threading.Thread | None = None
        self._socket: Any = None
        self.started = False
        self.frames: list[dict[str, Any]] = []

    def start(self) -> None:
        """Read both sides, subscribe, and listen."""
        self._read()
        asked = {"topics": ["activation"], "world_id": self._world_id, "strategy_id": self._strategy_id}
        told = self._client.post(f"{self._address}/events/subscribe", json=asked)
        if told.status_code != 200 or not told.json().get("stream_url"):
            return
        named = told.json()["stream_url"], told.json()["token"]
        self._thread = threading.Thread(target=self._listen, args=named, name="activation-manager")
        self._thread.start()
        self.started = True

    def poll(self) -> None:
        """Read both sides, as it does every ten seconds once it has started."""
        if self.started:
            self._read()

    def allows(self, side: str) -> bool:
        """Tell whether orders of a side may go out."""
        blocked = any(told.get("freeze") or told.get("drain") for told in self._sides.values())
        return bool(self._sides[side].get("active")) and not blocked

    def weight(self, side: str) -> float:
        """Return the side's weight, 1 where an active side says none."""
        told = self._sides[side]
        return min(1.0, max(0.0, float(told.get("weight", 1.0 if told.get("active") else 0.0))))

    def stop(self) -> None:
        """Stop listening."""
        if self._socket is not None:
            self._socket.close()
        if self._thread is not None:
            self._thread.join(10)
        self._client.close()

    def _read(self) -> None:
        for side in SIDES:
            query = f"strategy_id={self._strategy_id}&side={side}"
            try:
                told = self._client.get(f"{self._address}/worlds/{self._world_id}/activation?{query}")
            except httpx.TransportError:
                continue
            if told.status_code == 200:
                self._believe(told.json())

    def _listen(self, url: str, token: str) -> None:
        with suppress(ConnectionClosed), connect(url, additional_headers={"Authorization": f"Bearer {token}"}) as wire:
            self._socket = wire
            for text in wire:
                frame = json.loads(text)
                if frame.get("type") == "activation_updated" and frame["data"].get("version") == 1:
                    self.frames.append(frame["data"])
                    self._believe(frame["data"])

    def _believe(self, told: dict[str, Any]) -> None:
        names = ("active", "weight", "freeze", "drain", "etag", "run_id", "state_hash", "effective_mode")
        self._sides[told["side"]] = {name: told[name] for name in names if name in told}


@dataclass(frozen=True, slots=True)
class CommandLine:
    """``qmtl world …``: no token, ten seconds, and what it prints."""

    address: str

    def run(self, action: str, name: str = "", **options: Any) -> str:
        """Run one command, and return what it would print; an error begins with ``Error``."""
        actions: dict[str, Callable[[], str]] = {
            "list": self._list,
            "create": lambda: self._create(name, options.get("policy", "conservative")),
            "info": lambda: self._info(name),
            "status": lambda: self._status(name),
            "apply": lambda: self._apply(name, options),
            "run-status": lambda: self._run_status(name, options["strategy_id"], options["run_id"]),
            "delete": lambda: self._delete(name),
        }
        return actions[action]()

    def _list(self) -> str:
        worlds = self._get("/worlds").json()
        return "\n".join(f"- {one['id']} ({one['name']})" for one in worlds if isinstance(worlds, list))

    def _create(self, name: str, preset: str) -> str:
        made = self._post("/worlds", {"id": name, "name": name})
        if made.status_code >= 400:
            return f"Error creating world: {made.json()['detail']}"
        nothing = {"preset_mode": None, "preset_version": None, "preset_overrides": None}
        told = self._post(f"/worlds/{name}/policies", {"preset": preset, **nothing})
        if told.status_code >= 400:
            return f"Error: world created, but failed to apply policy: {told.json()['detail']}"
        return f"World '{name}' created with policy preset '{preset}'"

    def _info(self, name: str) -> str:
        told = self._get(f"/worlds/{name}/describe")
        if told.status_code >= 400:
            return f"Error: {told.json()['detail']}"
        body = told.json()
        names = ("id", "name", "default_policy_version", "policy_preset", "policy_human")
        return "\n".join(f"{one}: {body.get(one) or 'n/a'}" for one in names)

    def _status(self, name: str) -> str:
        body = self._get(f"/worlds/{name}").json()
        decided = self._get(f"/worlds/{name}/decide").json()
        return f"{body['world']['id']} {body['state']} {decided['effective_mode']}"

    def _apply(self, name: str, options: dict[str, Any]) -> str:
        told = self._post(f"/worlds/{name}/apply", options, **{"X-Allow-Live": "true"})
        body = told.json()
        return f"Error: {body['detail']}" if told.status_code >= 400 else f"{body['run_id']} {body['phase']}"

    def _run_status(self, name: str, strategy_id: str, run_id: str) -> str:
        told = self._get(f"/worlds/{name}/strategies/{strategy_id}/runs/{run_id}").json()
        return f"{told['run_id']} {told['status']} {told['summary']['status']}"

    def _delete(self, name: str) -> str:
        told = httpx.delete(f"{self.address}/worlds/{name}", timeout=10)
        return f"Error: {told.json()['detail']}" if told.status_code >= 400 else f"World '{name}' deleted"

    def _get(self, path: str) -> httpx.Response:
        return httpx.get(self.address + path, timeout=10)

    def _post(self, path: str, body: dict[str, Any], **headers: str) -> httpx.Response:
        return httpx.post(self.address + path, json=body, headers=headers, timeout=10)
