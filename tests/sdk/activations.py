"""Activations, a source that plays them, and a clock that tests turn by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from qmtl_worlds.contracts.activation import ActivationEnvelope, GateLevel, envelope_etag, parse_envelope
from qmtl_worlds.contracts.lease import Position
from qmtl_worlds.sdk.permission import ActivationReading

WORLD = "crypto"
STRATEGY = "sma-5-20.AAPL"


def wire_activation(*, at: tuple[int, int, int] = (1, 7, 0), **changes: object) -> dict[str, object]:
    """Return the wire form of an open activation at ``at``, with ``changes`` and a fitting ETag."""
    position = Position(*at)
    body: dict[str, object] = {
        "world_id": WORLD,
        "strategy_id": STRATEGY,
        "side": "long",
        "active": True,
        "weight": 0.12,
        "freeze": False,
        "drain": False,
        "gate": "open",
        "mode": "paper",
        "effective_mode": "paper",
        "reason": "active",
        "generation": 3,
        "sequence": position.sequence,
        "run_id": "apply:1",
        "ts": "2026-03-06T21:00:00Z",
        "state_hash": "sha256:0",
        **changes,
    }
    return body | {"etag": envelope_etag(position, body)}


def activation(*, at: tuple[int, int, int] = (1, 7, 0), **changes: object) -> ActivationEnvelope:
    """Return ``wire_activation`` as an envelope."""
    return parse_envelope(wire_activation(at=at, **changes))


def shut(level: GateLevel, *, at: tuple[int, int, int] = (1, 8, 0), **changes: object) -> ActivationEnvelope:
    """Return an activation whose gate is at ``level``, reduce_only or closed."""
    facts: dict[str, object] = {"active": False, "weight": 0.0, "gate": level.value, "reason": "freeze", **changes}
    return activation(at=at, **facts)


@dataclass(slots=True)
class Clock:
    """A monotonic clock that stands still unless it is moved."""

    now: float = 1000.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


@dataclass(slots=True)
class PlayedSource:
    """Answers every question with what ``play`` makes of it: side and known ETag in, reading or error out.

    ``asked`` keeps world, strategy, side and known ETag of every question.
    """

    play: Callable[[str, str | None], ActivationReading]
    asked: list[tuple[str, str, str, str | None]] = field(default_factory=list)
    client_ids: set[str | None] = field(default_factory=set)
    closed: int = 0

    def activation(
        self,
        world_id: str,
        strategy_id: str,
        side: str,
        *,
        known_etag: str | None = None,
        client_id: str | None = None,
    ) -> ActivationReading:
        """Answer, or raise."""
        self.asked.append((world_id, strategy_id, side, known_etag))
        self.client_ids.add(client_id)
        return self.play(side, known_etag)

    def close(self) -> None:
        """Count the call."""
        self.closed += 1
