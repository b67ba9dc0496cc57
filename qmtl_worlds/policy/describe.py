"""A policy in words, for the people who approve it."""

from __future__ import annotations

from collections.abc import Iterator

from qmtl_worlds.contracts.ids import Side
from qmtl_worlds.policy.compiler import CompiledPolicy
from qmtl_worlds.policy.document import Correlation, Exposure, PolicyDocument
from qmtl_worlds.policy.nodes import AllOf, AnyOf, Condition, GateNode
from qmtl_worlds.policy.operation import BarCloseSchedule, Circuit, EverySchedule
from qmtl_worlds.policy.units import format_duration


def describe(policy: CompiledPolicy) -> str:
    """Return the policy as lines of plain sentences, in the order in which it decides."""
    document = policy.document
    lines = [f"World {document.world}, policy version {document.version}.", *_data(document)]
    lines += ["An instance is eligible if", *_gate(policy.gates, 1)]
    lines += [f"Eligible instances are ranked by {' '.join(document.selection.score.split())}.", *_ranking(document)]
    lines += [*_slots(policy), *_constraints(document), *_hysteresis(document), *_sizing(policy)]
    lines += [*_operation(document), *_circuit(document.risk.circuit)]
    return "\n".join(lines)


def _data(document: PolicyDocument) -> Iterator[str]:
    currency, metrics = document.data_currency, document.metrics
    clock = "open time" if currency.bar_alignment == "exchange_calendar" else "wall time"
    bar = f"a bar of {currency.bar}" if currency.bar else "a bar"
    yield f"Data is fresh until {bar} and {format_duration(currency.max_lag)} of {clock} after its end."
    if currency.min_history_days:
        yield f"Under {currency.min_history_days} sessions of history, metrics neither promote nor demote."
    windows = metrics.windows
    yield (
        f"Metrics count sessions of {metrics.calendar}: short {windows.short_days}, mid {windows.mid_days},"
        f" long {windows.long_days}; rows of {', '.join(metrics.provenance)} data count."
    )


def _gate(gate: GateNode, depth: int) -> Iterator[str]:
    blanks = "  " * depth
    match gate:
        case Condition(text):
            yield f"{blanks}{text}"
            return
        case AllOf(children):
            yield f"{blanks}all of:"
        case AnyOf(children):
            yield f"{blanks}any of:"
        case _:
            children = gate.children
            yield f"{blanks}none of:"
    for child in children:
        yield from _gate(child, depth + 1)


def _ranking(document: PolicyDocument) -> Iterator[str]:
    selection = document.selection
    yield f"A score under {selection.min_score:g} is not eligible."
    if selection.incumbent_bonus:
        yield f"Active instances rank as if their score were {selection.incumbent_bonus:g} higher."


def _slots(policy: CompiledPolicy) -> Iterator[str]:
    selection = policy.document.selection
    yield f"At most {selection.topk.total} are selected ({selection.solver})."
    for side in Side:
        if slots := selection.topk.by_side[side]:
            budget = selection.constraints.exposure.gross_budget[side]
            slot = policy.slot_weight(side)
            yield f"At most {slots} {side.value}, {_percent(slot)} of capital each, {_percent(budget)} together."


def _constraints(document: PolicyDocument) -> Iterator[str]:
    constraints = document.selection.constraints
    if constraints.correlation is not None:
        yield _correlation(constraints.correlation)
    yield from _exposure(constraints.exposure)


def _correlation(rule: Correlation) -> str:
    kind = "correlation" if rule.mode == "signed" else "absolute correlation"
    unknown = "conflicts" if rule.on_unknown == "conflict" else "is ignored"
    return (
        f"No two selected have a {kind} above {rule.max_pairwise:g} over {rule.window_days} sessions;"
        f" with fewer than {rule.required_overlap} in common it is unknown, which {unknown}."
    )


def _exposure(exposure: Exposure) -> Iterator[str]:
    yield f"Weight times leverage adds up to at most {exposure.leverage_cap:g}."
    if exposure.max_leverage is not None:
        assumed = exposure.assume_leverage
        yield "Without reported leverage: " + ("not eligible." if assumed is None else f"taken as {assumed:g}.")
    if exposure.sector_cap is not None:
        missing = {"bucket": "share one sector", "exempt": "are exempt", "reject": "are not eligible"}
        yield (
            f"One sector takes at most {_percent(exposure.sector_cap.per_sector)} of capital, long plus short;"
            f" instances without a sector {missing[exposure.on_missing_sector]}."
        )


def _hysteresis(document: PolicyDocument) -> Iterator[str]:
    rule = document.selection.hysteresis
    yield f"Promoted after {rule.promote_after} and demoted after {rule.demote_after} evaluations on new data."
    if rule.min_dwell:
        yield f"Promoted or demoted, it stays so for at least {format_duration(rule.min_dwell)}."
    if (limit := document.selection.max_changes_per_apply) is not None:
        yield f"At most {limit} promotions in one apply; the rest waits."


def _sizing(policy: CompiledPolicy) -> Iterator[str]:
    weights = policy.document.selection.weights
    limits = ", ".join(f"{side.value} {_percent(policy.max_weight(side))}" for side in Side if policy.slot_weight(side))
    yield f"Weights: {weights.scheme}, at most {limits or 'nothing'}; shifts up to {_percent(weights.band)} are left."


def _operation(document: PolicyDocument) -> Iterator[str]:
    match document.schedule:
        case EverySchedule(every=every, offset=offset):
            yield f"Evaluated every {format_duration(every)}, offset {format_duration(offset)}."
        case BarCloseSchedule(delay=delay):
            yield f"Evaluated {format_duration(delay)} after each close."
        case None:
            yield "Evaluated by hand only."
    rule = document.apply
    people = f"{rule.approvals} approval{'s' if rule.approvals > 1 else ''} within {format_duration(rule.expiry)}"
    if rule.mode == "auto":
        size = f"{rule.auto.max_changes} changes and {_percent(rule.auto.max_gross_shift)} of capital"
        yield f"More risk is applied without asking up to {size}; beyond, it needs {people}."
    else:
        yield f"More risk needs {people}; less risk needs none."
    words = document.position_policy
    yield f"Positions: {words.on_promote} on promotion, {words.on_demote} on demotion."


def _circuit(circuit: Circuit | None) -> Iterator[str]:
    limits = {} if circuit is None else circuit.plain()
    named = [f"{name} {limits[name]:g}" for name in ("max_drawdown", "var_95", "max_leverage") if name in limits]
    if circuit is None or not named:
        yield "No risk circuit."
    else:
        yield (
            f"The world halts above {', '.join(named)}, on {circuit.confirm_samples} samples;"
            f" it warns from {_percent(circuit.warn_at)} of a limit on."
        )


def _percent(share: float) -> str:
    return f"{round(share * 100, 2):g} %"
