"""What the tick does for the risk circuits: follow exposures, model the equity that they imply, see to the input.

docs/decisions/0070-what-a-world-was-permitted-to-hold.md says what counts as held.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import structlog
from django.db import OperationalError, transaction

from qmtl_worlds.contracts.activation import GateLevel
from qmtl_worlds.contracts.acts import Act
from qmtl_worlds.contracts.digests import digest
from qmtl_worlds.contracts.errors import WorldsError
from qmtl_worlds.lifecycle.circuit import HighWaterMark, RiskInput, RiskSample, drawdown, raised
from qmtl_worlds.lifecycle.exposure import Exposures, observed, since
from qmtl_worlds.lifecycle.gate import answer
from qmtl_worlds.lifecycle.holds import HoldKind
from strategies.models import SESSION_SECONDS, StrategyInstance
from worlds.models import CircuitState, GateHold, World
from worlds.selectors import members_of
from worlds.services.changes import locked_world
from worlds.services.circuits import (
    INPUT,
    Reach,
    input_age,
    judge,
    limits_of,
    reach_from,
    release_input,
    save,
    settle_input,
    state_of,
)
from worlds.services.gate_facts import Committed, member_facts, read_committed
from worlds.work.implied import ImpliedBar, RiskNow, complete_until, implied_bars, risk_now, seen_until

_HOUR: Final = 3_600
_LONGEST_BAR: Final = 8 * SESSION_SECONDS
_log = structlog.get_logger(__name__)


def watch_circuits(*, now: datetime) -> None:
    """Look after the circuit of every world in use whose policy has one; replayed history has nobody to protect."""
    blind = set(GateHold.objects.filter(kind=HoldKind.STALE_RISK, owner=INPUT).values_list("world_id", flat=True))
    worlds = World.objects.select_related("policy").filter(state=World.State.ACTIVE, policy__isnull=False)
    for world in worlds.exclude(mode=World.Mode.REPLAY):
        if limits_of(world) is not None or world.id in blind:
            _guarded(world, now)


def _guarded(world: World, now: datetime) -> None:
    """A world that refuses does not keep the others from being watched."""
    try:
        _watch(world, now)
    except WorldsError as error:
        _log.warning("circuit_refused", world_id=world.id, code=error.code, detail=error.detail)
    except OperationalError as error:  # somebody holds the world's lock
        _log.warning("circuit_postponed", world_id=world.id, detail=str(error))


@dataclass(frozen=True, slots=True)
class _Seen:
    """What one look at a world found, before its row was locked."""

    state: CircuitState
    exposures: Exposures
    bars: tuple[ImpliedBar, ...]
    until: int
    risk: RiskNow
    reach: Reach


def _watch(world: World, now: datetime) -> None:
    act = Act("system", "tick", now)
    if limits_of(world) is None:
        _let_go(world, act)
        return
    seen = _look(world, now)
    if seen is None:
        _begin(world, act)
    elif _is_news(seen, now):
        _store(world, seen, act)


@transaction.atomic
def _let_go(world: World, act: Act) -> None:
    release_input(world=locked_world(world.id), act=act)


@transaction.atomic
def _begin(world: World, act: Act) -> None:
    """Watch from here: what was lost before is not known, and the input is given time to come."""
    state_of(locked_world(world.id), now=act.now)


def _look(world: World, now: datetime) -> _Seen | None:
    """Read the world, the bars that are complete since the last look, and the risk of what is held; lock nothing."""
    state = CircuitState.objects.filter(world=world).first()
    if state is None:
        return None
    state.world = world
    reading = read_committed(world_id=world.id, read=lambda one: member_facts(world=one))
    exposures = _observe(reading, exposures_of(state), now)
    held = list(StrategyInstance.objects.filter(pk__in=exposures.present))
    after, until = _stretch(state, exposures, held, now)
    bars = implied_bars(world, exposures, after=after, until=until, start=float(state.modelled.get("from", 0.0)))
    basis = _basis(exposures, until, world)
    known = state.modelled
    if known.get("basis") == basis:
        risk = RiskNow(basis, known.get("var_95"), known.get("leverage"))
    else:
        risk = risk_now(world, exposures.present, as_of=until, basis=basis)
    reach = seen_until(world, held, now=now)
    return _Seen(state, exposures, bars, until, risk, reach)


def _stretch(
    state: CircuitState, exposures: Exposures, held: Collection[StrategyInstance], now: datetime
) -> tuple[int, int]:
    """Return the times between which bars are new and complete; of who has left, the last ones come by the hour."""
    after = int(state.modelled.get("ts") or state.changed_at.timestamp())
    holding = [at for at, weights in exposures.entries if weights]
    if not holding:
        return after, after
    after = max(after, int(holding[0]))
    until = complete_until(state.world, held, now=now) if held else int(now.timestamp()) // _HOUR * _HOUR
    return after, max(after, until)


def _observe(reading: Committed[Any], log: Exposures, now: datetime) -> Exposures:
    """Look which instances are in the set, and which of them a Runner may open more of."""
    instances = {key: one.instance_id for key, one in members_of(reading.world.id, reading.facts.generation).items()}
    if not reading.facts.confirmed or instances.keys() != reading.entries.keys():
        return log  # the world would not stand still: the next tick looks again
    committed = {instances[key]: min(entry.weight, entry.cap) for key, entry in reading.entries.items()}
    open_now = {
        instances[key]
        for key, entry in reading.entries.items()
        if answer(entry, reading.facts, reading.at).gate is GateLevel.OPEN
    }
    return observed(log, at=now.timestamp(), committed=committed, open_now=open_now)


def _is_news(seen: _Seen, now: datetime) -> bool:
    """Tell whether anything is to be written: most looks find what the last one found."""
    state, age = seen.state, input_age(seen.state, modelled=seen.reach, now=now)
    is_held = GateHold.objects.filter(world=state.world, kind=HoldKind.STALE_RISK, owner=INPUT).exists()
    settled = is_held == (age is not RiskInput.FRESH) and (age is not RiskInput.LATCHED or bool(state.incident))
    read = state.modelled.get("ts"), state.modelled.get("basis")
    return not settled or read != (seen.until, seen.risk.basis) or exposures_of(state) != seen.exposures


@transaction.atomic
def _store(world: World, seen: _Seen, act: Act) -> None:
    """Write what was seen, unless a snapshot or a reset came in between: then the next tick looks again."""
    world = locked_world(world.id)
    state = state_of(world, now=act.now)
    if state.changed_at != seen.state.changed_at or limits_of(world) is None:
        return
    known = state.modelled.get("basis")
    state.modelled = {
        **state.modelled,
        "ts": seen.until,
        "exposures": [[at, dict(weights)] for at, weights in _recent(seen).entries],
        "basis": seen.risk.basis,
        "var_95": seen.risk.var_95,
        "leverage": seen.risk.leverage,
    }
    for bar in seen.bars:
        _judge_bar(state, bar, act)
    if not seen.bars and known != seen.risk.basis:
        _judge_present(state, act)
    settle_input(state=state, age=input_age(state, modelled=seen.reach, now=act.now), act=act)
    save(state, now=act.now)


def _judge_bar(state: CircuitState, bar: ImpliedBar, act: Act) -> None:
    """Let the implied equity go on by one bar; its drawdown counts only where no snapshot rules."""
    at = datetime.fromtimestamp(bar.ts, UTC)
    equity = float(state.modelled.get("equity", 0.0))
    base = equity if equity > 0 else 1.0
    equity = max(0.0, base * (1.0 + bar.ret))
    state.modelled = {**state.modelled, "equity": equity}
    fall = None
    if not _snapshots_rule(state, act.now):
        mark = HighWaterMark(state.high_water or base, state.high_water_at or at)
        mark = raised(mark, equity=equity, ts=at)
        state.high_water, state.high_water_at = mark.equity, mark.reached_at
        fall = drawdown(mark, equity=equity)
        state.modelled = {**state.modelled, "drawdown": fall}
    _judge(state, RiskSample(at, fall), act)


def _judge_present(state: CircuitState, act: Act) -> None:
    """Judge other weights on the bars that were seen: that confirms nothing, but twice a limit trips at once."""
    _judge(state, RiskSample(datetime.fromtimestamp(state.modelled["ts"], UTC)), act)


def _judge(state: CircuitState, sample: RiskSample, act: Act) -> None:
    """Add what is computed, unless a snapshot that rules says it."""
    told = state.last_sample if _snapshots_rule(state, act.now) else {}
    var_95 = None if told.get("var_95") is not None else state.modelled["var_95"]
    leverage = None if told.get("leverage") is not None else state.modelled["leverage"]
    judge(state=state, sample=RiskSample(sample.ts, sample.drawdown, var_95, leverage), act=act, modelled=True)


def _snapshots_rule(state: CircuitState, now: datetime) -> bool:
    """Tell whether a snapshot came within ``max_lag``."""
    if state.last_ts is None:
        return False
    until = reach_from(state.world, start=state.last_ts).fresh_until
    return until is not None and now <= until


def exposures_of(state: CircuitState) -> Exposures:
    """Return the exposures that were stored."""
    stored: Iterable[tuple[float, Mapping[str, float]]] = state.modelled.get("exposures", [])
    return Exposures(tuple((at, {int(one): weight for one, weight in weights.items()}) for at, weights in stored))


def _recent(seen: _Seen) -> Exposures:
    """Forget what no bar that may still come can reach back to."""
    return since(seen.exposures, start=seen.until - _LONGEST_BAR)


def _basis(exposures: Exposures, until: int, world: World) -> str:
    """Name what VaR and leverage are computed from: they change with the weights and once a day."""
    policy = world.policy.checksum if world.policy else ""
    return digest([sorted(exposures.present.items()), until // SESSION_SECONDS, policy])
