"""The risk circuit of a world: every sample is judged in the transaction that stores it, and a breach halts there.

What has tripped is a hold of its own owner, the incident; only ``reopen``, on a granted request, takes it away (I11).
The caller of each verb holds the world's lock.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final

from audit.recorder import record
from qmtl_worlds.contracts.activation import GateLevel
from qmtl_worlds.contracts.acts import Act
from qmtl_worlds.contracts.errors import PlanStaleError
from qmtl_worlds.lifecycle import circuit
from qmtl_worlds.lifecycle.circuit import Breach, Limits, RiskInput, RiskSample, judge_sample, risk_input
from qmtl_worlds.lifecycle.holds import HoldKind, make_hold
from worlds.models import CircuitState, Reopening, World
from worlds.services.alerts import clear_alert, raise_alert
from worlds.services.changes import announce, locked_world
from worlds.services.freshness import freshness_rule
from worlds.services.holds import lift_hold, place_hold
from worlds.services.projection import project_after_commit
from worlds.services.run_rows import compiled

ACTOR: Final = "circuit"
LATCH_AFTER: Final = 10
"""How many times ``max_lag`` of open time the input may be missing before the circuit trips."""
INPUT: Final = "risk_input"
KEEP, RESET = "keep", "reset"


@dataclass(frozen=True, slots=True)
class Reach:
    """Until when input that was seen counts as fresh, and when its absence latches; None is long ago."""

    fresh_until: datetime | None = None
    latches_at: datetime | None = None


def limits_of(world: World) -> Limits | None:
    """Return what the policy in force allows the world to lose and carry; None where it has no circuit."""
    rules = compiled(world.policy).document.risk.circuit if world.policy else None
    return Limits(**rules.model_dump()) if rules else None


def reach_from(world: World, *, start: datetime) -> Reach:
    """Return how long input of ``start`` reaches: one ``max_lag`` of open time, and ten until it latches."""
    rule = freshness_rule(world)
    if rule is None:
        return Reach()
    if rule.calendar is None:
        return Reach(start + rule.max_lag, start + LATCH_AFTER * rule.max_lag)
    add = rule.calendar.open_time_add
    return Reach(add(start, rule.max_lag), add(start, LATCH_AFTER * rule.max_lag))


def state_of(world: World, *, now: datetime) -> CircuitState:
    """Return what the circuit remembers; a new one gives its input the time until it latches to arrive."""
    reach = reach_from(world, start=now)
    state, _ = CircuitState.objects.get_or_create(
        world=world, defaults={"fresh_until": reach.fresh_until, "latches_at": reach.latches_at, "changed_at": now}
    )
    state.world = world
    return state


def find_circuit(*, world_id: str) -> CircuitState | None:
    """Return what the circuit remembers, None where nothing was ever sent and nobody watches."""
    return CircuitState.objects.filter(world_id=world_id).first()


def judge(*, state: CircuitState, sample: RiskSample, act: Act, modelled: bool = False) -> None:
    """Judge a sample against the policy's limits: warn, trip, or find nothing; the caller saves the state.

    Samples of equity snapshots, and those that weights and returns imply, confirm each among themselves only.
    """
    limits = limits_of(state.world)
    if limits is None:
        return
    before = _remembered(state, modelled=modelled)
    step = judge_sample(limits, before, sample)
    seen = {name for name, value in _measures(sample).items() if value is not None}
    _remember(state, step.state, modelled=modelled)
    near = step.state.warned
    state.warned = sorted((before.warned - seen) | near)
    for measure in sorted((before.warned & seen) - near):
        clear_alert(world=state.world, kind="circuit_warned", subject=measure, act=act)
    if step.trips:
        trip(state=state, breaches=step.breaches, act=act)
    elif not before.tripped:
        _warn(state, step.warnings, act)


def trip(*, state: CircuitState, breaches: Iterable[Breach], act: Act) -> None:
    """Halt the world: one hold, one incident, one alert; runs that increase risk stop at it."""
    world, told = state.world, {breach.measure: asdict(breach) for breach in breaches}
    act = _own(act, f"broke {', '.join(told)}")
    incident = f"circuit-{world.incarnation}.{world.sequence + 1}"
    state.incident, state.tripped_at = incident, act.now
    place_hold(world=world, hold=make_hold(HoldKind.CIRCUIT, incident, level=GateLevel(world.circuit_level)), act=act)
    _tell(world, {"incident": incident, "phase": "tripped", "breaches": told}, act)
    for measure in told:
        clear_alert(world=world, kind="circuit_warned", subject=measure, act=act)
    raise_alert(world=world, kind="circuit_tripped", subject=incident, facts={"breaches": told}, act=act)
    facts = {"breaches": told, "level": world.circuit_level, "high_water": state.high_water}
    record(chain=world.id, kind="circuit.tripped", act=act, subject=incident, after=facts)


def input_age(state: CircuitState, *, modelled: Reach, now: datetime) -> RiskInput:
    """Return whether the circuit can see: by what was stored or modelled, whichever reaches further.

    A limit whose measure nobody gives cannot be watched, so the input is stale at best.
    """
    fresh = max((at for at in (state.fresh_until, modelled.fresh_until) if at), default=None)
    latches = max((at for at in (state.latches_at, modelled.latches_at) if at), default=None)
    age = risk_input(fresh_until=fresh, latches_at=latches, now=now)
    return RiskInput.STALE if age is RiskInput.FRESH and not _is_measured(state) else age


def settle_input(*, state: CircuitState, age: RiskInput, act: Act) -> None:
    """Hold the world while its circuit cannot see, let go when it can, and trip where it was blind for too long."""
    if age is RiskInput.FRESH:
        release_input(world=state.world, act=act)
        return
    world, act = state.world, _own(act, "no equity snapshot and no complete bar came in time")
    if place_hold(world=world, hold=make_hold(HoldKind.STALE_RISK, INPUT), act=act):
        _tell(world, {"phase": "input_stale"}, act)
        raise_alert(world=world, kind="risk_input_stale", act=act)
        record(chain=world.id, kind="circuit.input_stale", act=act, subject=world.id)
    if age is RiskInput.LATCHED and not state.incident:
        trip(state=state, breaches=[Breach(INPUT, float(LATCH_AFTER), float(LATCH_AFTER), 1.0)], act=act)


def release_input(*, world: World, act: Act) -> None:
    """Let go of what was held because the circuit could not see, or because there is no circuit any more."""
    if lift_hold(world=world, kind=HoldKind.STALE_RISK, owner=INPUT):
        act = _own(act, "the risk input is fresh")
        _tell(world, {"phase": "input_fresh"}, act)
        clear_alert(world=world, kind="risk_input_stale", act=act)
        record(chain=world.id, kind="circuit.input_fresh", act=act, subject=world.id)


def reopen(*, reopening: Reopening, act: Act) -> None:
    """Reset the circuit as was granted; samples up to now stay counted as seen.

    ``keep`` leaves the high-water mark, so that a world which is still down trips again on new evidence; ``reset``
    starts from the present equity.

    Raises:
        PlanStaleError: that incident is over, or another one came.
    """
    world = locked_world(reopening.world_id)
    state = state_of(world, now=act.now)
    incident, mark = reopening.parameters["incident"], reopening.parameters["high_water_mark"]
    if not incident or state.incident != incident:
        raise PlanStaleError("Another incident came after this was asked for; ask anew.", incident=state.incident)
    before = {"high_water": state.high_water, "incident": incident}
    _remember(state, circuit.reset(_remembered(state, modelled=False)), modelled=False)
    _remember(state, circuit.reset(_remembered(state, modelled=True)), modelled=True)
    for measure in state.warned:
        clear_alert(world=world, kind="circuit_warned", subject=measure, act=act)
    state.incident, state.tripped_at, state.warned = "", None, []
    reach = reach_from(world, start=act.now)
    state.latches_at = max(filter(None, [state.latches_at, reach.latches_at]), default=None)
    if mark == RESET:
        _restart(state, act.now)
    save(state, now=act.now)
    lift_hold(world=world, kind=HoldKind.CIRCUIT, owner=incident)
    _tell(world, {"incident": incident, "phase": "reset", "high_water_mark": mark}, act)
    clear_alert(world=world, kind="circuit_tripped", subject=incident, act=act)
    raise_alert(world=world, kind="circuit_reset", subject=incident, act=act)
    after = {"high_water": state.high_water, "high_water_mark": mark, "reopening": reopening.pk}
    record(chain=world.id, kind="circuit.reset", act=act, subject=incident, before=before, after=after)


def save(state: CircuitState, *, now: datetime) -> None:
    """Store what the circuit remembers."""
    state.changed_at = now
    state.save()


def _restart(state: CircuitState, now: datetime) -> None:
    """Let drawdowns count from the present equity on; one that is gone starts anew."""
    equity = state.modelled.get("equity") or state.last_sample.get("equity")
    state.high_water, state.high_water_at = equity, now if equity else None


def _remembered(state: CircuitState, *, modelled: bool) -> circuit.CircuitState:
    tripped, warned = bool(state.incident), frozenset(state.warned)
    if not modelled:
        return circuit.CircuitState(tripped, state.breaching_count, state.last_ts, warned)
    judged = state.modelled.get("judged")
    last = datetime.fromisoformat(judged) if judged else None
    return circuit.CircuitState(tripped, state.modelled.get("breaching_count", 0), last, warned)


def _remember(state: CircuitState, after: circuit.CircuitState, *, modelled: bool) -> None:
    if not modelled:
        state.breaching_count, state.last_ts = after.breaching_count, after.last_ts
        return
    judged = after.last_ts.isoformat() if after.last_ts else None
    state.modelled = {**state.modelled, "breaching_count": after.breaching_count, "judged": judged}


def _warn(state: CircuitState, warnings: Iterable[Breach], act: Act) -> None:
    for near in warnings:
        own = _own(act, f"{near.measure} came near its limit")
        raise_alert(world=state.world, kind="circuit_warned", subject=near.measure, facts=asdict(near), act=own)
        record(chain=state.world.id, kind="circuit.warned", act=own, subject=near.measure, after=asdict(near))


def _is_measured(state: CircuitState) -> bool:
    limits = limits_of(state.world)
    wanted = {"var_95": limits.var_95, "leverage": limits.max_leverage} if limits else {}
    return all(
        limit is None or any(known.get(name) is not None for known in (state.last_sample, state.modelled))
        for name, limit in wanted.items()
    )


def _measures(sample: RiskSample) -> dict[str, float | None]:
    return {"max_drawdown": sample.drawdown, "var_95": sample.var_95, "max_leverage": sample.leverage}


def _tell(world: World, payload: dict[str, Any], act: Act) -> None:
    announce(world, kind="risk_circuit", payload=payload, now=act.now)
    project_after_commit(world_id=world.id)


def _own(act: Act, reason: str) -> Act:
    """Return an act of the circuit itself: whoever sent the sample did not halt the world."""
    return Act(ACTOR, reason, act.now, act.request_id)
