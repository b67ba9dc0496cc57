"""Runners with the SDK's own gate, which write down what they held, from when until when."""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from qmtl_worlds.contracts.activation import ActivationEnvelope
from qmtl_worlds.contracts.ids import Side
from qmtl_worlds.sdk.client import WorldsClient
from qmtl_worlds.sdk.gate import OrderGate
from qmtl_worlds.sdk.permission import ActivationReading, Permission
from qmtl_worlds.sdk.transport import HttpTransport, Reply, Request, Transport

SLOW_SHARE: Final = 0.9
"""A slow Runner asks again when so much of its lease has passed, so that it holds each permission for longest."""
EAGER_SECONDS: Final = 0.05
LOOKS: Final = 4
"""How often each gate is asked for an order between two polls."""


class Witness:
    """Stands between a gate and the server, and remembers when it asked and what it was promised."""

    def __init__(self, servers: Sequence[str], token: str) -> None:
        """Ask any of ``servers`` with ``token``."""
        transport = AnyOf([HttpTransport(server, monotonic=self._note_sending) for server in servers])
        self._client = WorldsClient(servers[0], token, timeout_seconds=1.0, transport=transport)
        self.sent_at = 0.0
        self.told_at = 0.0
        self.lease_ms = 0.0
        self.envelope: ActivationEnvelope | None = None

    def activation(
        self,
        world_id: str,
        strategy_id: str,
        side: str,
        *,
        known_etag: str | None = None,
        client_id: str | None = None,
    ) -> ActivationReading:
        """Ask once."""
        self.lease_ms, self.envelope = 0.0, None
        reading = self._client.activation(world_id, strategy_id, side, known_etag=known_etag, client_id=client_id)
        self.told_at = time.monotonic()
        self.lease_ms, self.envelope = reading.lease_ms, reading.envelope
        return reading

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def _note_sending(self) -> float:
        """Be the transport's clock, which it reads just before it sends."""
        self.sent_at = time.monotonic()
        return self.sent_at


class AnyOf:
    """Sends each request to any of several servers, as a balancer in front of them does."""

    def __init__(self, transports: Sequence[Transport]) -> None:
        """Choose among ``transports``."""
        self._transports = transports

    def send(self, request: Request) -> Reply:
        """Send it once."""
        return random.choice(self._transports).send(request)  # noqa: S311 - no secret

    def close(self) -> None:
        """Close what is open."""
        for transport in self._transports:
            transport.close()


class WatchedGate(OrderGate):
    """An order gate that shows what it holds."""

    @property
    def held(self) -> Permission:
        """Return what is held for the long side."""
        return self._held[Side.LONG.value]


class Runner:
    """One strategy's gate in one world, and the account of what it would have let through."""

    def __init__(self, witness: Witness, world_id: str, strategy_id: str, *, manner: str = "") -> None:
        """Prepare a closed gate; ``manner`` is ``slow``, ``eager``, or empty for one that asks as the SDK wants."""
        self._witness, self._manner = witness, manner
        self._names = {"world": world_id, "key": f"{strategy_id}|long", "process": os.getpid()}
        self.gate = WatchedGate(
            witness, world_id=world_id, strategy_id=strategy_id, sides=[Side.LONG], monotonic=time.monotonic
        )
        self.due = 0.0
        self.allowed = 0

    def poll(self) -> dict[str, Any]:
        """Ask, and return what is held from now on."""
        before = time.monotonic()
        pause = self.gate.poll()
        self.due = time.monotonic() + self._patience(pause)
        held, witness = self.gate.held, self._witness
        answer = held.activation
        return {
            **self._names,
            "asked": max(witness.sent_at, before),
            "at": time.monotonic(),
            "failed": self.gate.failure is not None,
            "lease_ms": witness.lease_ms,
            "deadline": held.deadline if answer else 0.0,
            "open": held.entry.allowed,
            "answer": _facts(answer),
            "told": _facts(witness.envelope),
        }

    def _patience(self, pause: float) -> float:
        if self._manner == "slow":
            return max(pause, self._witness.lease_ms / 1000 * SLOW_SHARE)
        return EAGER_SECONDS if self._manner == "eager" else pause

    def look(self) -> dict[str, Any] | None:
        """Judge an order now; return evidence where the gate lets it through past the lease it holds."""
        before = time.monotonic()
        verdict = self.gate.check(Side.LONG.value)
        self.allowed += verdict.allowed
        late = verdict.allowed and before >= self.gate.held.deadline
        return {**self._names, "late": before, "deadline": self.gate.held.deadline} if late else None


def trade(tell: Callable[[dict[str, Any]], None], words: Mapping[str, Any]) -> None:
    """Run a gate for each ``[world, strategy]`` of ``gates``, and append what they held to the file ``log``."""
    witness = Witness(words["servers"], words["token"])
    runners = [
        Runner(witness, world_id, strategy_id, manner=words["manner"]) for world_id, strategy_id in words["gates"]
    ]
    tell({"trading": len(runners)})
    with Path(words["log"]).open("ab", buffering=0) as log:
        while True:
            now = time.monotonic()
            for runner in runners:
                facts = [runner.poll()] if runner.due <= now else []
                facts += [late for _ in range(LOOKS) if (late := runner.look())]
                log.writelines(json.dumps(fact).encode() + b"\n" for fact in facts)
            time.sleep(0.01)


def _facts(answer: ActivationEnvelope | None) -> dict[str, Any] | None:
    if answer is None or (position := answer.position) is None:
        return None
    return {
        "position": [position.incarnation, position.sequence, position.hold_sequence],
        "generation": answer.generation,
        "active": answer.active,
        "weight": answer.weight,
        "reason": answer.reason,
        "state_hash": answer.state_hash,
    }
