"""Take in what the portfolio of a world is worth, and judge it in the same transaction (I11)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from django.db import transaction

from qmtl_worlds.contracts.acts import Act
from qmtl_worlds.contracts.errors import (
    InputInvalidError,
    PermissionDeniedError,
    SeriesConflictError,
    SeriesInvalidError,
)
from qmtl_worlds.lifecycle.circuit import HighWaterMark, RiskInput, RiskSample, drawdown, raised
from worlds.models import CircuitState, EquitySnapshot, World
from worlds.services.changes import locked_world
from worlds.services.circuits import (
    Reach,
    input_age,
    judge,
    limits_of,
    reach_from,
    release_input,
    save,
    state_of,
)
from worlds.stores.clock import world_now

FUTURE: Final = timedelta(seconds=5)
MOST: Final = 1_000
PERMISSION: Final = "series.push"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What the portfolio was worth at ``ts``: equity > 0, gross notional over equity, VaR as a positive fraction."""

    ts: datetime
    equity: float
    leverage: float | None = None
    var_95: float | None = None


@dataclass(frozen=True, slots=True)
class Pushed:
    """What a push did, and how the circuit stands after it; ``incident`` is empty where nothing is tripped."""

    stored: int
    unchanged: int
    state: CircuitState


@transaction.atomic
def push_equity(*, world_id: str, snapshots: Sequence[Snapshot], act: Act) -> Pushed:
    """Store snapshots in the order of their times, and judge each; the same again changes nothing.

    Raises:
        PermissionDeniedError: the token is limited to some strategies, and this is about all of them.
        InputInvalidError: there are none, or more than ``MOST``.
        SeriesInvalidError: a row has no usable value or time, or comes before what is stored.
        SeriesConflictError: a row contradicts a stored one.
    """
    act.require(PERMISSION, world_id)
    if act.grants.strategies is not None:
        raise PermissionDeniedError(act.actor, permission=f"{PERMISSION} of every strategy")
    if not 1 <= len(snapshots) <= MOST:
        raise InputInvalidError(field="snapshots", reason=f"must be 1 to {MOST}")
    world = locked_world(world_id)
    _check(snapshots, latest=world_now(world, now=act.now) + FUTURE)
    new = _new(world, snapshots)
    state = state_of(world, now=act.now)
    for snapshot in new:
        _take_in(state, snapshot, act)
    if new:
        EquitySnapshot.objects.bulk_create(_row(world, snapshot, act) for snapshot in new)
        save(state, now=act.now)
    if limits_of(world) is None or input_age(state, modelled=Reach(), now=act.now) is RiskInput.FRESH:
        release_input(world=world, act=act)
    return Pushed(len(new), len(snapshots) - len(new), state)


def _take_in(state: CircuitState, snapshot: Snapshot, act: Act) -> None:
    """Move the mark, judge, and let what is modelled go on from here."""
    mark = raised(_mark(state, snapshot), equity=snapshot.equity, ts=snapshot.ts)
    state.high_water, state.high_water_at = mark.equity, mark.reached_at
    fall = drawdown(mark, equity=snapshot.equity)
    state.last_sample = {
        "ts": snapshot.ts.isoformat(),
        "equity": snapshot.equity,
        "drawdown": fall,
        "leverage": snapshot.leverage,
        "var_95": snapshot.var_95,
    }
    start = {"equity": snapshot.equity, "from": snapshot.ts.timestamp(), "drawdown": None}
    state.modelled = {**state.modelled, **start}
    reach = reach_from(state.world, start=snapshot.ts)
    state.fresh_until = _later(state.fresh_until, reach.fresh_until)
    state.latches_at = _later(state.latches_at, reach.latches_at)
    judge(state=state, sample=RiskSample(snapshot.ts, fall, snapshot.var_95, snapshot.leverage), act=act)
    state.last_ts = snapshot.ts  # also where no policy judges it


def _mark(state: CircuitState, snapshot: Snapshot) -> HighWaterMark | None:
    """Return the mark in money; one that only weights and returns implied keeps its distance to the present."""
    if state.high_water is None or state.high_water_at is None:
        return None
    if state.last_sample:
        return HighWaterMark(state.high_water, state.high_water_at)
    implied = float(state.modelled.get("equity", 0.0))
    return HighWaterMark(state.high_water * snapshot.equity / implied, state.high_water_at) if implied > 0 else None


def _check(snapshots: Sequence[Snapshot], *, latest: datetime) -> None:
    """Refuse rows that can never be stored, the first one by its number."""
    before: datetime | None = None
    for row, snapshot in enumerate(snapshots):
        if snapshot.ts.tzinfo is None:
            raise SeriesInvalidError(row=row, reason="ts must carry a zone", kind="naive_timestamp")
        if snapshot.ts > latest:
            raise SeriesInvalidError(row=row, reason="ts is in the future", kind="future_timestamp")
        if before is not None and snapshot.ts <= before:
            raise SeriesInvalidError(row=row, reason="ts must rise from row to row", kind="non_monotonic")
        if not (math.isfinite(snapshot.equity) and snapshot.equity > 0):
            raise SeriesInvalidError(row=row, reason="equity must be a positive number", kind="equity")
        for name, value in (("leverage", snapshot.leverage), ("var_95", snapshot.var_95)):
            if value is not None and not (math.isfinite(value) and value >= 0):
                raise SeriesInvalidError(row=row, reason=f"{name} must not be negative", kind=name)
        before = snapshot.ts


def _new(world: World, snapshots: Sequence[Snapshot]) -> list[Snapshot]:
    """Return those that are not stored yet; they must all come after the last one that is."""
    stored = EquitySnapshot.objects.filter(world=world, ts__in=[snapshot.ts for snapshot in snapshots])
    known = {row.ts: (row.equity, row.leverage, row.var_95) for row in stored}
    last = EquitySnapshot.objects.filter(world=world).order_by("-ts").values_list("ts", flat=True).first()
    new: list[Snapshot] = []
    for row, snapshot in enumerate(snapshots):
        if snapshot.ts not in known:
            if last is not None and snapshot.ts <= last:
                raise SeriesInvalidError(row=row, reason="ts is before the last snapshot", kind="before_last")
            new.append(snapshot)
        elif known[snapshot.ts] != (snapshot.equity, snapshot.leverage, snapshot.var_95):
            raise SeriesConflictError(row=row, ts=snapshot.ts.isoformat(), revisable=False)
    return new


def _row(world: World, snapshot: Snapshot, act: Act) -> EquitySnapshot:
    return EquitySnapshot(
        world=world,
        ts=snapshot.ts,
        equity=snapshot.equity,
        leverage=snapshot.leverage,
        var_95=snapshot.var_95,
        pushed_by=act.actor,
        received_at=act.now,
    )


def _later(one: datetime | None, other: datetime | None) -> datetime | None:
    return max(filter(None, [one, other]), default=None)
