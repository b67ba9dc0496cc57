from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qmtl_worlds.contracts.ids import InstanceKey, Side
from qmtl_worlds.contracts.plans import active_set, parse_active_set
from qmtl_worlds.decision.outcome import Decision
from qmtl_worlds.lifecycle.budget import Caps, Exposures, MissingSector, violations
from qmtl_worlds.lifecycle.plan import apply_reduce, split
from qmtl_worlds.policy.compiler import CompiledPolicy
from tests.unit.decision.worlds import DAY, NOW, Instance, evaluate, noise_of, policy

FEW = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
SOURCES = [noise_of(name) for name in ("x", "y", "z")]
WINDOW = {"window": "40d", "min_overlap": 30}


@st.composite
def instances(draw: st.DrawFn) -> list[Instance]:
    count = draw(st.integers(0, 14))
    return [draw(instance(f"i{number:02d}")) for number in range(count)]


@st.composite
def instance(draw: st.DrawFn, name: str) -> Instance:
    share = draw(st.sampled_from([0.02, 0.3, 1.5]))
    active = draw(st.booleans())
    return Instance(
        name,
        score=draw(st.sampled_from([None, -1.0, 0.5, 1.0, 2.0, 3.0])),
        ok=draw(st.sampled_from([None, -1.0, 1.0, 1.0, 1.0])),
        side=draw(st.sampled_from(["long", "short"])),
        sector=draw(st.sampled_from([None, "tech", "oil"])),
        leverage=draw(st.sampled_from([None, 0.5, 1.0, 3.0])),
        active=active,
        weight=draw(st.sampled_from([0.05, 0.1, 0.2])) if active else None,
        since=draw(st.sampled_from([None, NOW - timedelta(days=1), NOW - timedelta(days=9)])),
        in_streak=draw(st.integers(0, 3)),
        out_streak=draw(st.integers(0, 3)),
        evidence=int(NOW.timestamp()) - DAY * draw(st.integers(0, 2)),
        fresh_for=draw(st.sampled_from([None, timedelta(hours=-1), timedelta(hours=1), timedelta(hours=1)])),
        held=draw(st.sampled_from([False, False, False, True])),
        returns=draw(st.sampled_from(SOURCES)) + share * noise_of(name),
    )


@st.composite
def policies(draw: st.DrawFn) -> CompiledPolicy:
    exposure: dict[str, Any] = {
        "gross_budget": {"long": draw(st.sampled_from([0.3, 0.6])), "short": 0.4},
        "on_missing_sector": draw(st.sampled_from(["bucket", "exempt"])),
        "assume_leverage": 1.5,
        "max_leverage": draw(st.sampled_from([0.5, 1.0, 3.0])),
    }
    if draw(st.booleans()):
        exposure["sector_cap"] = {"per_sector": draw(st.sampled_from([0.1, 0.25, 0.5]))}
    limits: dict[str, Any] = {"exposure": exposure}
    if draw(st.booleans()):
        limits["correlation"] = WINDOW | {"max_pairwise": 0.8, "mode": draw(st.sampled_from(["signed", "abs"]))}
    return policy(
        topk={
            "total": draw(st.integers(1, 6)),
            "by_side": {"long": draw(st.integers(1, 4)), "short": draw(st.integers(0, 2))},
        },
        constraints=limits,
        hysteresis={
            "promote_after": draw(st.integers(1, 2)),
            "demote_after": draw(st.integers(1, 2)),
            "min_dwell": "2d",
        },
        weights={"scheme": draw(st.sampled_from(["slot", "inverse_vol", "erc", "score"])), "band": 0.02},
        solver=draw(st.sampled_from(["greedy", "exact"])),
        incumbent_bonus=draw(st.sampled_from([0.0, 0.6])),
    )


@given(instances(), policies(), st.randoms(use_true_random=False))
@FEW
def test_the_order_of_the_input_never_matters(world: list[Instance], rules: CompiledPolicy, random: Any) -> None:
    shuffled = random.sample(world, len(world))

    assert evaluate(shuffled, rules).canonical() == evaluate(world, rules).canonical()


@given(instances(), policies())
@FEW
def test_every_set_satisfies_every_budget(world: list[Instance], rules: CompiledPolicy) -> None:
    decision = evaluate(world, rules)

    if decision.has_plan:
        admitted = {InstanceKey.from_text(key) for key in decision.promote}
        assert broken(decision.weights, decision, world, rules, admitted) == ()
        assert broken(decision.reduced, decision, world, rules, set()) == ()


@given(instances(), policies())
@FEW
def test_the_reducing_part_permits_no_more_than_now(world: list[Instance], rules: CompiledPolicy) -> None:
    decision = evaluate(world, rules)

    assert all(weight <= decision.before.get(key, 0.0) for key, weight in decision.reduced.items())
    plan, reduced = decision.plan(base_generation=1), parse_active_set(decision.reduced)
    first = split(plan, reduced=reduced).reduce
    assert (apply_reduce(first, plan.before) if first else plan.before) == reduced


@given(instances(), policies())
@FEW
def test_lists_and_weights_tell_one_story(world: list[Instance], rules: CompiledPolicy) -> None:
    decision = evaluate(world, rules)

    active = {one.key for one in world if one.active}
    assert set(decision.final) == set(decision.weights) == (active - set(decision.demote)) | set(decision.promote)
    assert set(decision.hold) == active & set(decision.final)
    assert not set(decision.promote) & active
    assert not {one.key for one in world if one.held} & set(decision.final)
    assert set(decision.before) == active
    assert decision.certificate["value"] <= decision.certificate["upper_bound"] + 1e-9
    assert {key for key in decision.table.keys if decision.recorded(key).weight > 0} == set(decision.final)


@given(instances(), policies())
@FEW
def test_only_fresh_and_passing_instances_gain_weight(world: list[Instance], rules: CompiledPolicy) -> None:
    decision = evaluate(world, rules)

    for one in world:
        if decision.weights.get(one.key, 0.0) > decision.before.get(one.key, 0.0):
            assert one.fresh_for is not None
            assert one.fresh_for >= timedelta(0)
            assert (one.ok or 0) > 0
            assert (one.score or 0) >= 0


@given(instances(), policies())
@FEW
def test_streaks_grow_by_at_most_one_and_never_both(world: list[Instance], rules: CompiledPolicy) -> None:
    decision = evaluate(world, rules)

    places = {key: place for place, key in enumerate(decision.streaks.keys)}
    for one in world:
        grown_in = int(decision.streaks.in_streak[places[one.key]]) - one.in_streak
        grown_out = int(decision.streaks.out_streak[places[one.key]]) - one.out_streak
        assert grown_in <= 1
        assert grown_out <= 1
        assert not (grown_in == 1 and grown_out == 1)
        assert decision.streaks.evidence[places[one.key]] >= one.evidence


@given(instances(), policies())
@FEW
def test_the_same_evidence_counts_once(world: list[Instance], rules: CompiledPolicy) -> None:
    first = evaluate(world, rules).streaks
    places = {key: place for place, key in enumerate(first.keys)}
    again = [
        replace(
            one,
            in_streak=int(first.in_streak[places[one.key]]),
            out_streak=int(first.out_streak[places[one.key]]),
            evidence=int(first.evidence[places[one.key]]),
        )
        for one in world
    ]

    second = evaluate(again, rules).streaks

    np.testing.assert_array_equal(second.in_streak, first.in_streak)
    np.testing.assert_array_equal(second.out_streak, first.out_streak)


def broken(
    weights: Any, decision: Decision, world: list[Instance], rules: CompiledPolicy, admitted: set[InstanceKey]
) -> tuple[object, ...]:
    """Ask the checker that was written apart from the selection."""
    selection = rules.document.selection
    limits, topk = selection.constraints.exposure, selection.topk
    keys = {InstanceKey.from_text(one.key): one for one in world}
    returns = {key: one.returns for key, one in keys.items() if one.returns is not None}
    caps = Caps(
        total=topk.total,
        by_side={side: topk.by_side[side] for side in Side},
        gross={side: limits.gross_budget[side] for side in Side},
        per_sector=limits.sector_cap.per_sector if limits.sector_cap else None,
        max_leverage=limits.leverage_cap,
        assumed_leverage=limits.assume_leverage,
        max_pairwise=selection.constraints.correlation.max_pairwise if selection.constraints.correlation else None,
        absolute=bool(selection.constraints.correlation and selection.constraints.correlation.mode == "abs"),
        missing_sector=MissingSector(limits.on_missing_sector),
    )
    exposures = Exposures(
        sectors={key: one.sector for key, one in keys.items() if one.sector},
        leverages={key: one.leverage for key, one in keys.items() if one.leverage is not None},
        correlations={(a, b): float(np.corrcoef(returns[a], returns[b])[0, 1]) for a in returns for b in returns},
    )
    content = active_set({InstanceKey.from_text(key): weight for key, weight in weights.items()})
    return violations(content, caps, exposures, admitted=admitted)
