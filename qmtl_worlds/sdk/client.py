"""The API as Python calls; every method is one request."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from http import HTTPStatus
from types import TracebackType
from typing import Final, Self
from uuid import uuid4

from qmtl_worlds.contracts.clock import boot_time
from qmtl_worlds.contracts.ids import InstanceKey, Side, check_object_id, check_side, check_world_id
from qmtl_worlds.contracts.lease import Position
from qmtl_worlds.sdk.address import read_address
from qmtl_worlds.sdk.permission import ActivationReading
from qmtl_worlds.sdk.reading import read_activation
from qmtl_worlds.sdk.runner_calls import acknowledge_call, activation_call, read_lease_seconds, stream_call
from qmtl_worlds.sdk.series import Series
from qmtl_worlds.sdk.session import ApiSession, Call, Content, JsonObject, json_content, path_of, read_object
from qmtl_worlds.sdk.stream import EventStream, HttpStream
from qmtl_worlds.sdk.transport import HttpTransport, Transport

EVALUATE_WAIT_SECONDS: Final = 10
"""The longest that the server lets a request wait for its run."""


@dataclass(frozen=True, slots=True)
class Binding:
    """One strategy on one side, as it is bound to a world; ``params`` are part of its identity."""

    strategy_id: str
    side: str = Side.LONG.value
    params: JsonObject = field(default_factory=dict)
    sector: str | None = None
    tags: Sequence[str] = ()

    def to_json(self) -> JsonObject:
        """Return the wire form."""
        body: JsonObject = {"strategy_id": self.strategy_id, "side": self.side, "params": self.params}
        if self.sector is not None:
            body["sector"] = self.sector
        return body | ({"tags": list(self.tags)} if self.tags else {})


class WorldsClient:
    """The server behind ``base_url``, with one token.

    Refusals raise the classes of ``qmtl_worlds.contracts.errors``, everything else ``SdkError``. Reads, and writes that
    the server takes as one however often they come, are repeated while it is away; others never. Where a run id is left
    out, a new one is made for the call. Threads may share a client; each has its own connection.
    """

    def __init__(
        self,
        base_url: str,
        token: str,
        *,
        timeout_seconds: float = 5.0,
        transport: Transport | None = None,
        pause: Callable[[float], None] = time.sleep,
        monotonic: Callable[[], float] = boot_time,
    ) -> None:
        """Connect at the first call; ``transport``, ``pause`` and ``monotonic`` stand in for the world in tests."""
        self._address = read_address(base_url)
        self._session = ApiSession(
            transport or HttpTransport(base_url, monotonic=monotonic),
            token,
            timeout_seconds=timeout_seconds,
            pause=pause,
        )
        self._timeout_seconds = timeout_seconds
        self._monotonic = monotonic

    def __enter__(self) -> Self:
        """Return the client."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        self.close()

    def close(self) -> None:
        """Close the calling thread's connection."""
        self._session.close()

    def health(self) -> JsonObject:
        """Return the state of database, store, worker and scheduler."""
        return self._get("/health")

    def create_world(self, world_id: str, **settings: object) -> JsonObject:
        """Create a world; ``settings`` are ``mode``, ``name``, ``owner`` and the like."""
        return self._post("/worlds", {"id": check_world_id(world_id), **settings})

    def world(self, world_id: str) -> JsonObject:
        """Return a world: its two states, mode and description."""
        return self._get(_world(world_id))

    def describe(self, world_id: str) -> JsonObject:
        """Return a world with its policy in force, in words."""
        return self._get(_world(world_id, "describe"))

    def add_policy(self, world_id: str, text: str) -> JsonObject:
        """Store a new policy version from YAML; ``PolicyInvalidError.faults`` lists all that is wrong with it."""
        content = Content(text.encode(), "application/yaml")
        return self._session.json(Call("POST", _world(world_id, "policies"), content=content))

    def set_default_policy(self, world_id: str, version: int) -> JsonObject:
        """Ask for a stored version to come into force."""
        return self._post(_world(world_id, "set-default"), {"version": version})

    def bind(self, world_id: str, bindings: Sequence[Binding]) -> JsonObject:
        """Bind strategies; those that are bound with the same params already stay as they are."""
        body: JsonObject = {"strategies": [binding.to_json() for binding in bindings]}
        return self._post(_world(world_id, "bindings"), body, repeatable=True)

    def bindings(self, world_id: str) -> JsonObject:
        """Return what is bound, with how far the data of each instance reaches."""
        return self._get(_world(world_id, "bindings"))

    def unbind(self, world_id: str, strategy_id: str, *, side: str | None = None) -> JsonObject:
        """Withdraw a strategy, both sides unless one is named; its gate closes at once."""
        path = _world(world_id, "bindings", check_object_id(strategy_id, field="strategy_id"))
        return self._session.json(Call("DELETE", path, {"side": side}))

    def set_roster(self, world_id: str, strategy_ids: Sequence[str]) -> JsonObject:
        """Name the only strategies that may be candidates."""
        return self._post(_world(world_id, "decisions"), {"strategies": list(strategy_ids)}, repeatable=True)

    def push_returns(
        self, world_id: str, strategy_id: str, side: str, series: Series, *, revise: bool = False
    ) -> JsonObject:
        """Send bars; rows the server has already are no change, so repeating never duplicates.

        Times and returns alone go as raw float64, which is the fastest. ``revise`` allows rows to correct stored ones.
        """
        path = _strategy(world_id, strategy_id, "returns")
        query: JsonObject = {"side": check_side(side).value}
        if (series.leverage, series.turnover, series.trades) == (None, None, None) and not revise:
            content = Content(series.to_raw(), "application/octet-stream")
        else:
            content = json_content(series.to_json() | {"revise": revise})
        return self._session.json(Call("POST", path, query, content, repeatable=True))

    def metrics(self, world_id: str, strategy_id: str, *, side: str = Side.LONG.value) -> JsonObject:
        """Return every metric with value, observations, window and status."""
        return self._get(_strategy(world_id, strategy_id, "metrics"), side=side)

    def evaluate(
        self, world_id: str, *, run_id: str | None = None, timeout_seconds: float = 60.0, **body: object
    ) -> JsonObject:
        """Evaluate and wait for the decision; ``body`` may hold ``as_of``, ``dry_run``, ``record`` and the like.

        Raises:
            TimeoutError: the run was not done in time; asking again with the same ``run_id`` goes on waiting.
        """
        run = run_id or new_run_id("eval")
        content = json_content({"run_id": run, **body})
        ends_at = self._monotonic() + timeout_seconds
        while (left := ends_at - self._monotonic()) > 0:
            wait = max(1, min(EVALUATE_WAIT_SECONDS, int(left)))
            call = Call(
                "POST",
                _world(world_id, "evaluate"),
                content=content,
                headers={"Prefer": f"wait={wait}"},
                repeatable=True,
                timeout_seconds=wait + self._timeout_seconds,
            )
            reply = self._session.send(call)
            if reply.status != HTTPStatus.ACCEPTED:
                return read_object(reply.body)
            self._session.wait(0.1)
        raise TimeoutError(f"evaluation {run} was not done after {timeout_seconds} s")

    def decide(self, world_id: str, *, as_of: datetime | None = None) -> JsonObject:
        """Return the decision in force."""
        return self._get(_world(world_id, "decide"), as_of=as_of and as_of.isoformat())

    def explain(self, world_id: str, strategy_id: str, side: str, *, run_id: str | None = None) -> JsonObject:
        """Return the trace of one instance through an evaluation, and the same in words (``text``)."""
        check_object_id(strategy_id, field="strategy_id")
        return self._get(_world(world_id, "explain"), strategy_id=strategy_id, side=side, run_id=run_id)

    def apply(self, world_id: str, *, run_id: str | None = None, **body: object) -> JsonObject:
        """Ask for a plan to be applied; ``body`` names ``evaluation_run_id`` or ``plan``."""
        content = {"run_id": run_id or new_run_id("apply"), **body}
        return self._post(_world(world_id, "apply"), content, repeatable=True)

    def apply_run(self, world_id: str, run_id: str) -> JsonObject:
        """Return an apply run with its phase."""
        return self._get(_world(world_id, "apply", run_id))

    def act_on_apply(self, world_id: str, run_id: str, verb: str, *, reason: str) -> JsonObject:
        """Reject, abort or resume a run (``verb``); approving needs a person's session."""
        return self._post(_world(world_id, "apply", run_id, verb), {"reason": reason})

    def rollback(self, world_id: str, *, to_generation: int, reason: str, run_id: str | None = None) -> JsonObject:
        """Ask for the content of a past generation under a new one."""
        body = {"to_generation": to_generation, "reason": reason, "run_id": run_id or new_run_id("rollback")}
        return self._post(_world(world_id, "rollback"), body, repeatable=True)

    def generations(self, world_id: str, *, cursor: str | None = None) -> JsonObject:
        """Return a page of past active sets, newest first."""
        return self._get(_world(world_id, "generations"), cursor=cursor)

    def generation(self, world_id: str, number: int) -> JsonObject:
        """Return one past active set."""
        return self._get(_world(world_id, "generations", number))

    def audit(self, world_id: str, *, cursor: str | None = None, kind: str | None = None) -> JsonObject:
        """Return a page of audit events."""
        return self._get(_world(world_id, "audit"), cursor=cursor, kind=kind)

    def set_gate(self, world_id: str, verb: str, *, reason: str) -> JsonObject:
        """Do one of ``pause``, ``resume``, ``freeze``, ``unfreeze``, ``kill``; doing it twice is doing it once."""
        return self._post(_world(world_id, verb), {"reason": reason}, repeatable=True)

    def active_set(self, world_id: str) -> JsonObject:
        """Return the whole active set; it authorizes no order."""
        return self._get(_world(world_id, "activation"))

    def activation(
        self,
        world_id: str,
        strategy_id: str,
        side: str,
        *,
        known_etag: str | None = None,
        consistent: bool = False,
        client_id: str | None = None,
    ) -> ActivationReading:
        """Ask for one activation, once; ``known_etag`` lets the server answer that nothing has changed.

        ``client_id`` lets it show who holds what. ``consistent`` reads the record itself, not a copy that may be up to
        one lease old. Never repeated: a gate asks again soon anyway.

        Raises:
            ReplyInvalidError: the answer cannot be relied on. It renews nothing.
        """
        call = activation_call(
            world_id,
            InstanceKey(strategy_id, check_side(side)),
            client_id=client_id,
            known_etag=known_etag,
            consistent=consistent,
            timeout_seconds=self._timeout_seconds,
        )
        return read_activation(self._session.send(call), known_etag=known_etag)

    def open_stream(
        self, world_id: str, strategy_id: str, *, client_id: str | None = None, last_seen: Position | None = None
    ) -> EventStream:
        """Open the stream of one strategy; ``last_seen`` lets the server go on behind what was heard.

        Raises:
            WorldsError: the server refused.
            SdkError: it cannot be reached, or does not stream.
        """
        call = stream_call(world_id, strategy_id, client_id=client_id, last_seen=last_seen)
        return HttpStream(self._address, self._session.request(call), monotonic=self._monotonic)

    def acknowledge(
        self, world_id: str, *, client_id: str, heard: Position, flat: Sequence[InstanceKey] = ()
    ) -> JsonObject:
        """Say how far this Runner has heard; ``flat`` ends the waits of instances whose positions are closed."""
        return self._session.json(acknowledge_call(world_id, client_id=client_id, heard=heard, flat=flat))

    def lease_seconds(self, world_id: str) -> float:
        """Return the lease of a world."""
        return read_lease_seconds(self.world(world_id))

    def _get(self, path: str, **query: object) -> JsonObject:
        return self._session.json(Call("GET", path, query))

    def _post(self, path: str, body: JsonObject, *, repeatable: bool = False) -> JsonObject:
        return self._session.json(Call("POST", path, content=json_content(body), repeatable=repeatable))


def new_run_id(kind: str) -> str:
    """Make a run id that nobody has used."""
    return f"{kind}:{uuid4().hex}"


def _world(world_id: str, *parts: object) -> str:
    return path_of("worlds", check_world_id(world_id), *parts)


def _strategy(world_id: str, strategy_id: str, *parts: object) -> str:
    return _world(world_id, "strategies", check_object_id(strategy_id, field="strategy_id"), *parts)
