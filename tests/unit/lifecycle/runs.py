"""The least that a test of the apply machine needs: a plan, a run, facts that let it go on."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import strategies as st

from qmtl_worlds.contracts.ids import InstanceKey, Side
from qmtl_worlds.contracts.plans import ActiveSet, ChangeReason, TransitionPlan, active_set
from qmtl_worlds.contracts.states import RunKind, RunState
from qmtl_worlds.lifecycle.apply import next_step
from qmtl_worlds.lifecycle.holds import Hold, own_hold
from qmtl_worlds.lifecycle.run import RunView, StepFacts, Transition, carried_out

NOW = datetime(2026, 3, 9, 14, tzinfo=UTC)
POLICY = "sha256:policy"
ANT, BEE, CAT, DOG = (InstanceKey(name, Side.LONG) for name in ("ant", "bee", "cat", "dog"))
KEYS = [InstanceKey(name, side) for name in "abcdef" for side in Side]
CAUSES = (ChangeReason.GATE_FAIL, ChangeReason.WITHDRAWN, ChangeReason.KILLED, ChangeReason.CAP)

keys = st.sampled_from(KEYS)
weights = st.integers(1, 10**9).map(lambda units: units / 1e9)
sets = st.dictionaries(keys, weights, max_size=8).map(active_set)


def plan_of(before: ActiveSet, after: ActiveSet, **reasons: ChangeReason) -> TransitionPlan:
    named = tuple((InstanceKey(name, Side.LONG), reason) for name, reason in reasons.items())
    return TransitionPlan("w1", 7, POLICY, before, after, named)


@st.composite
def plans(draw: st.DrawFn) -> TransitionPlan:
    before, after = draw(sets), draw(sets)
    leaving = sorted(before.weights.keys() - after.weights.keys())
    causes = {key: draw(st.sampled_from([ChangeReason.OUTRANKED, *CAUSES])) for key in leaving}
    return TransitionPlan("w1", 7, POLICY, before, after, tuple(causes.items()))


@st.composite
def reductions(draw: st.DrawFn, content: ActiveSet) -> ActiveSet:
    """Draw what reduce runs may make of a set meanwhile."""
    shares = {key: draw(st.sampled_from([0.0, 0.5, 1.0])) for key in content.weights}
    return active_set({key: weight * shares[key] for key, weight in content.weights.items()})


SWAP = plan_of(active_set({ANT: 0.1, BEE: 0.1}), active_set({ANT: 0.1, CAT: 0.1}))
"""Bee is outranked by cat."""


def run_in(state: RunState, *, kind: RunKind = RunKind.INCREASE, plan: TransitionPlan = SWAP) -> RunView:
    return RunView("run-1", kind, state, plan, deadline_at=NOW + timedelta(minutes=5), drain_until=NOW)


def good_facts(run: RunView, *, current: ActiveSet | None = None, holds: frozenset[Hold] = frozenset()) -> StepFacts:
    """Return facts under which the run goes on: approved, fresh, valid, its own hold in place."""
    return StepFacts(
        epoch=run.epoch,
        current=run.plan.before if current is None else current,
        holds=holds | {own_hold(run.run_id)},
        policy_checksum=POLICY,
        approved=True,
        admissible=frozenset([*KEYS, ANT, BEE, CAT, DOG]),
        set_valid=True,
        watched_seconds=60.0,
        replaced=run.plan.before if run.state is RunState.SWITCHED else None,
    )


def stepped(run: RunView, facts: StepFacts, now: datetime = NOW) -> tuple[RunView, Transition]:
    transition = next_step(run, replace(facts, epoch=run.epoch), now)
    return carried_out(run, transition), transition
