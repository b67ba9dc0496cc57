"""Gather what one evaluation reads: the register, the series, the streaks, the active set."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import repeat
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from qmtl_worlds.contracts.digests import digest, digest_bytes
from qmtl_worlds.contracts.ids import InstanceKey
from qmtl_worlds.decision.inputs import EvaluationInput
from qmtl_worlds.decision.lookback import sessions_needed
from qmtl_worlds.lifecycle.calendar import Calendar
from qmtl_worlds.lifecycle.holds import HoldKind
from qmtl_worlds.metrics.panel import ReturnPanel
from qmtl_worlds.policy.compiler import CompiledPolicy
from strategies.models import StrategyInstance
from strategies.register import CandidateColumns, candidates, side_code
from strategies.selectors import evaluation_bytes, reported_values
from worlds.models import Demotion, GateHold, World
from worlds.selectors import members_of
from worlds.services.freshness import rule_of
from worlds.stores.world_rows import Member
from worlds.work.fresh_ends import fresh_ends
from worlds.work.packed_state import PackedState, pack_state
from worlds.work.panel_loader import LoadedBars, load_bars, panel_of
from worlds.work.streaks import StoredStreaks, read_streaks

_NOTHING_BEFORE: Final = 0
_LEAVING: Final = frozenset({HoldKind.KILL, HoldKind.WITHDRAWN, HoldKind.OVERRIDE})
"""An instance with a hold of its own of these kinds leaves at once and may not come in."""


@dataclass(frozen=True, slots=True, eq=False)
class Gathered:
    """The inputs of one evaluation, and what names them for ever.

    ``instances`` are the register's ids in the order of the inputs; ``reference`` is JSON from which the same inputs
    can be read again; ``digest`` covers their content.
    """

    inputs: EvaluationInput
    instances: NDArray[np.int64]
    streaks: StoredStreaks
    generation: int
    reference: Mapping[str, Any]
    digest: str

    def advised(self, **advice: Any) -> EvaluationInput:
        """Return the inputs with metrics or correlations from a request's body laid over them."""
        return replace(self.inputs, **advice)


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked: the state at ``as_of`` under data ``revision``; ``counts`` where streaks may move.

    ``looks_back`` where ``as_of`` is not the present: then bars that came later keep nothing fresh.
    """

    as_of: datetime
    revision: int | None
    counts: bool
    looks_back: bool = False


def gather(*, world: World, policy: CompiledPolicy, question: Question) -> Gathered:
    """Read the inputs of an evaluation of ``world`` under ``policy``."""
    members = members_of(world.id, world.generation)
    register, leaving = _with_leavers(candidates(world.id), members)
    scene = _Scene(world, members, register, leaving)
    loaded, panel = read_bars(world.id, policy, register.instances, question)
    streaks = read_streaks(world.id)
    inputs = _inputs(scene, policy, question, streaks, (loaded, panel))
    state = pack_state(inputs, loaded.instances)
    reference = {
        "series": loaded.reference,
        "generation": world.generation,
        "streaks_revision": streaks.revision,
        "streak_checksum": streaks.selection_checksum,
        "circuit_open": inputs.circuit_open,
        "state": state.to_json(),
    }
    covered = inputs_digest(inputs, loaded, state, verifies=False)
    return Gathered(inputs, loaded.instances, streaks, world.generation, reference, covered)


def inputs_digest(inputs: EvaluationInput, loaded: LoadedBars, state: PackedState, *, verifies: bool) -> str:
    """Return the digest of all that an evaluation read of the world: bars, state, names, reported values.

    ``verifies`` where stored bars are not trusted (``LoadedBars.digest``).
    """
    reported = {name: digest_bytes(values.tobytes()) for name, values in inputs.reported.items()}
    keys = digest_bytes("\n".join(inputs.keys).encode())
    rest = [list(state.sectors), inputs.streak_checksum, inputs.circuit_open, inputs.has_applied_set, reported]
    return digest([loaded.digest(verifies=verifies), digest_bytes(state.data), keys, rest])


@dataclass(frozen=True, slots=True)
class _Scene:
    """Who is there: candidates, members, and those of them that must leave, by key."""

    world: World
    members: Mapping[InstanceKey, Member]
    register: CandidateColumns
    leaving: frozenset[str]


def _inputs(
    scene: _Scene,
    policy: CompiledPolicy,
    question: Question,
    streaks: StoredStreaks,
    bars: tuple[LoadedBars, ReturnPanel],
) -> EvaluationInput:
    world, register = scene.world, scene.register
    loaded, panel = bars
    holds = list(GateHold.objects.filter(world=world).values_list("kind", "scope"))
    held = {scope for kind, scope in holds if kind in _LEAVING and scope}
    in_streak, out_streak, evidence = streaks.aligned(loaded.instances)
    return EvaluationInput(
        world_id=world.id,
        as_of=question.as_of,
        keys=register.keys,
        side=np.array(register.sides, dtype=np.uint8),
        bound_at=np.array(register.bound_at),
        sector=register.sectors,
        active=_flags(register.keys, {key.text for key in scene.members}),
        weight=_weights(scene),
        dwell_since=_dwell_since(scene),
        in_streak=in_streak,
        out_streak=out_streak,
        evidence=evidence,
        streak_checksum=streaks.selection_checksum,
        fresh_until=_fresh_until(world, policy, register, loaded, question),
        held=_flags(register.keys, scene.leaving | held),
        panel=panel,
        reported=read_reported(world.id, policy, loaded, question.as_of),
        world_mode=world.mode,
        has_applied_set=world.generation > 0,
        circuit_open=any(kind == HoldKind.CIRCUIT for kind, _ in holds),
        counts=question.counts,
    )


def _with_leavers(
    register: CandidateColumns, members: Mapping[InstanceKey, Member]
) -> tuple[CandidateColumns, frozenset[str]]:
    """Add members that are no candidates any more, in place of newcomers of the same name: they must leave first.

    Returns the keys of those added as well.
    """
    present = set(register.instances)
    leaving = [member for member in members.values() if member.instance_id not in present]
    if not leaving:
        return register, frozenset()
    names = {member.key.text for member in leaving}
    kept = [place for place, key in enumerate(register.keys) if key not in names]
    rows = {row.pk: row for row in StrategyInstance.objects.filter(pk__in=[member.instance_id for member in leaving])}
    gone = [rows[member.instance_id] for member in leaving]
    columns = CandidateColumns(
        instances=type(register.instances)("q", [*(register.instances[p] for p in kept), *(row.pk for row in gone)]),
        keys=(*(register.keys[p] for p in kept), *(row.key.text for row in gone)),
        sides=_array_of(register.sides, kept, [side_code(row.key.side) for row in gone]),
        sectors=(*(register.sectors[p] for p in kept), *(row.sector or None for row in gone)),
        interval_seconds=_array_of(register.interval_seconds, kept, [row.interval_seconds for row in gone]),
        bound_at=_array_of(register.bound_at, kept, [row.bound_at.timestamp() for row in gone]),
        fresh_until=_array_of(register.fresh_until, kept, [_seconds(row.fresh_until) for row in gone]),
    )
    return columns, frozenset(names)


def _array_of(column: Any, kept: list[int], more: list[Any]) -> Any:
    return type(column)(column.typecode, [*(column[place] for place in kept), *more])


def read_bars(
    world_id: str, policy: CompiledPolicy, instances: Sequence[int], question: Question
) -> tuple[LoadedBars, ReturnPanel]:
    """Read the bars of ``instances`` that ``policy`` looks back on, and the sessions that they make up."""
    calendar = Calendar.load(policy.document.metrics.calendar)
    end = bisect_right(calendar.closes, question.as_of.timestamp())
    start = max(0, end - sessions_needed(policy))
    closes = np.array(calendar.closes[start:end], dtype=np.int64)
    after = calendar.closes[start - 1] if start else _NOTHING_BEFORE
    stored = evaluation_bytes(
        world_id,
        first=after + 1,
        last=int(question.as_of.timestamp()),
        provenance=frozenset(policy.document.metrics.provenance),
        revision=question.revision,
    )
    loaded = load_bars(stored, instances)
    return loaded, panel_of(loaded, closes=closes, after=after)


def _fresh_until(
    world: World, policy: CompiledPolicy, register: CandidateColumns, loaded: LoadedBars, question: Question
) -> NDArray[np.float64]:
    """Return the end of freshness by instance: as the register has it, and no later where the question is of the past.

    The register knows nothing of a replay's clock, nor of a policy that is not in force.
    """
    known = np.array(register.fresh_until)
    applies = world.mode != World.Mode.REPLAY and world.policy is not None and world.policy.checksum == policy.checksum
    if applies and not question.looks_back:
        return known
    ends = fresh_ends(register, loaded, rule=rule_of(policy), as_of=question.as_of)
    return np.minimum(known, ends) if applies else ends


def _weights(scene: _Scene) -> NDArray[np.float64]:
    weights = {key.text: member.weight for key, member in scene.members.items()}
    keys = scene.register.keys
    return np.fromiter(map(weights.get, keys, repeat(0.0)), np.float64, len(keys))


def _dwell_since(scene: _Scene) -> NDArray[np.float64]:
    demoted = Demotion.objects.filter(instance__world=scene.world).values_list("instance_id", "demoted_at")
    since = {instance: at.timestamp() for instance, at in demoted}
    since |= {member.instance_id: member.promoted_at.timestamp() for member in scene.members.values()}
    instances = np.array(scene.register.instances)
    column = np.full(len(instances), math.nan)
    places = np.flatnonzero(np.isin(instances, list(since)))
    column[places] = [since[instance] for instance in instances[places].tolist()]
    return column


def _flags(keys: Sequence[str], marked: AbstractSet[str]) -> NDArray[np.bool_]:
    """Tell which of ``keys`` are marked."""
    return np.fromiter(map(marked.__contains__, keys), np.bool_, len(keys))


def read_reported(
    world_id: str, policy: CompiledPolicy, loaded: LoadedBars, as_of: datetime
) -> dict[str, NDArray[np.float64]]:
    """Read what Runners had reported of the metrics that ``policy`` reads, by name, under the revision of the bars."""
    names = {ref.name for ref in policy.metrics if ref.is_reported}
    if not names:
        return {}
    revision = loaded.reference["revision"]
    found = reported_values(world_id, as_of=as_of, revision=int(str(revision)))
    instances = loaded.instances.tolist()
    return {
        name: np.array([found[name].get(instance, math.nan) for instance in instances])
        for name in sorted(names & found.keys())
    }


def _seconds(time: datetime | None) -> float:
    return math.nan if time is None else time.timestamp()
