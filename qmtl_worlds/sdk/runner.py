"""Submitting a strategy: bind it, send its returns up, say what the world makes of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from itertools import count
from typing import Final, Protocol

from qmtl_worlds.contracts.activation import ActivationEnvelope
from qmtl_worlds.contracts.clock import boot_time
from qmtl_worlds.contracts.errors import NotFoundError, UnavailableError
from qmtl_worlds.contracts.ids import InstanceKey, check_side
from qmtl_worlds.sdk.client import Binding, WorldsClient
from qmtl_worlds.sdk.coverage import DataProvider, data_end
from qmtl_worlds.sdk.errors import ReplyInvalidError, ServerUnreachableError
from qmtl_worlds.sdk.series import Series
from qmtl_worlds.sdk.session import JsonObject

MAX_ROWS_A_CALL: Final = 50_000
PATIENCE_SECONDS: Final = 60.0
"""How long the same rows are sent again while the server is away."""
LONGEST_PAUSE_SECONDS: Final = 5.0


class Strategy(Protocol):
    """What a Runner needs to know of a strategy."""

    @property
    def binding(self) -> Binding:
        """Return its id, side, params and sector."""
        ...

    def series(self) -> Series:
        """Return its returns, oldest first."""
        ...


class SubmitStatus(StrEnum):
    """Where a submitted strategy stands.

    ACTIVE: its gate is open. SELECTED: the decision wants it, but that has not been applied, or a hold is in the way.
    REJECTED: the decision in force leaves it out. PENDING: no decision knows it yet.
    """

    ACTIVE = "active"
    SELECTED = "selected"
    REJECTED = "rejected"
    PENDING = "pending"


@dataclass(frozen=True, slots=True)
class SubmitResult:
    """What became of a submission.

    ``weight`` is the share of world capital that is permitted now, 0 unless ACTIVE; ``contribution`` the return a
    session that the decision expects of it at that size, None where unknown. ``violations`` are the rules that this
    instance breaks, as the decision words them. ``explanation`` says it in words. ``data_end`` is the close of the last
    bar sent.
    """

    world_id: str
    key: InstanceKey
    status: SubmitStatus
    weight: float
    contribution: float | None
    violations: tuple[Mapping[str, object], ...]
    reason: str
    explanation: str
    rows_sent: int
    data_end: datetime | None


class Runner:
    """Submits strategies with the token of one client (role submitter)."""

    def __init__(
        self,
        client: WorldsClient,
        *,
        patience_seconds: float = PATIENCE_SECONDS,
        pause: Callable[[float], None] = time.sleep,
        monotonic: Callable[[], float] = boot_time,
    ) -> None:
        """Use ``client`` for every call; rows are sent again for ``patience_seconds`` while the server is away."""
        self._client = client
        self._patience_seconds = patience_seconds
        self._pause = pause
        self._monotonic = monotonic

    def submit(
        self,
        strategy: Strategy,
        *,
        world: str,
        data_provider: DataProvider | None = None,
        resume: bool = False,
    ) -> SubmitResult:
        """Bind ``strategy`` to ``world``, send its bars, and read what the decision in force says of it.

        Doing it again with more bars sends them all and changes only what is new: the server knows rows by their time,
        so nothing that is sent again counts twice. With ``resume``, sending begins with the last bar that the server
        has of this instance; older ones are then not compared with what is stored. With a ``data_provider``, bars that
        close after what its ``coverage()`` ends with are held back, since no data stands behind them.

        Raises:
            WorldsError: the server refused, for instance rows that contradict what it has.
            SdkError: it cannot be reached or understood.
        """
        binding = strategy.binding
        key = InstanceKey(binding.strategy_id, check_side(binding.side))
        series = _covered(strategy.series(), data_provider)
        self._client.bind(world, [binding])
        sent = series.since(self._data_end(world, key)) if resume else series
        self._push(world, key, sent)
        return self._result(world, key, sent)

    def _push(self, world: str, key: InstanceKey, series: Series) -> None:
        for first in range(0, len(series), MAX_ROWS_A_CALL):
            self._push_patiently(world, key, series.take(first, first + MAX_ROWS_A_CALL))

    def _push_patiently(self, world: str, key: InstanceKey, part: Series) -> None:
        """Send the same rows until the server says that it has them; it takes them in once."""
        ends_at = self._monotonic() + self._patience_seconds
        for attempt in count():
            try:
                self._client.push_returns(world, key.strategy_id, key.side.value, part)
            except (ServerUnreachableError, UnavailableError):
                pause = min(LONGEST_PAUSE_SECONDS, 0.25 * 2 ** min(attempt, 10))
                if self._monotonic() + pause >= ends_at:
                    raise
                self._pause(pause)
            else:
                return

    def _data_end(self, world: str, key: InstanceKey) -> int | None:
        """Return the close of the last bar that the server has of an instance, None where it has none."""
        bound = self._client.bindings(world).get("instances")
        for one in bound if isinstance(bound, list) else ():
            if isinstance(one, dict) and (one.get("strategy_id"), one.get("side")) == (key.strategy_id, key.side.value):
                end = one.get("data_end")
                return int(datetime.fromisoformat(end).timestamp()) if isinstance(end, str) else None
        return None

    def _result(self, world: str, key: InstanceKey, series: Series) -> SubmitResult:
        activation = self._activation(world, key)
        decision = self._decision(world)
        explained = self._explained(world, key)
        status = _status(activation, decision, key=key, known=bool(explained))
        return SubmitResult(
            world_id=world,
            key=key,
            status=status,
            weight=activation.weight,
            contribution=_contribution(decision, key),
            violations=_violations(decision, key),
            reason=activation.reason,
            explanation=str(explained.get("text", "")),
            rows_sent=len(series),
            data_end=datetime.fromtimestamp(series.ts[-1], UTC) if len(series) else None,
        )

    def _activation(self, world: str, key: InstanceKey) -> ActivationEnvelope:
        reading = self._client.activation(world, key.strategy_id, key.side.value, consistent=True)
        if reading.envelope is None or reading.envelope.key != key:
            raise ReplyInvalidError(f"asked about {key.text}, was told about something else")
        return reading.envelope

    def _decision(self, world: str) -> JsonObject:
        try:
            return self._client.decide(world)
        except NotFoundError:
            return {}

    def _explained(self, world: str, key: InstanceKey) -> JsonObject:
        try:
            return self._client.explain(world, key.strategy_id, key.side.value)
        except NotFoundError:
            return {}


def _covered(series: Series, data_provider: DataProvider | None) -> Series:
    if data_provider is None:
        return series
    end = data_end(data_provider)
    return series.take(0, 0) if end is None else series.until(end)


def _status(activation: ActivationEnvelope, decision: JsonObject, *, key: InstanceKey, known: bool) -> SubmitStatus:
    if activation.active:
        return SubmitStatus.ACTIVE
    wanted = decision.get("active")
    if isinstance(wanted, list) and key.text in wanted:
        return SubmitStatus.SELECTED
    return SubmitStatus.REJECTED if known else SubmitStatus.PENDING


def _contribution(decision: JsonObject, key: InstanceKey) -> float | None:
    contributions = decision.get("contribution")
    value = contributions.get(key.text) if isinstance(contributions, dict) else None
    return float(value) if isinstance(value, int | float) else None


def _violations(decision: JsonObject, key: InstanceKey) -> tuple[Mapping[str, object], ...]:
    violations = decision.get("violations")
    if not isinstance(violations, list):
        return ()
    return tuple(item for item in violations if isinstance(item, dict) and item.get("key") == key.text)
