"""A decision as a table for the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC

from qmtl_worlds.decision.outcome import Decision
from qmtl_worlds.explain import WORDS

_HEADINGS = ("", "instance", "rank", "score", "weight", "before", "why")
_NUMBERS = frozenset({"rank", "score", "weight", "before"})


def decision_table(decision: Decision) -> str:
    """Return the decision in lines: what it rests on, everyone who is, was or would be in, and how good it is.

    Best rank first; those who leave and those who wait come last. ``explain`` tells of everybody else.
    """
    return "\n".join([*_head(decision), "", *_table(decision), "", *_foot(decision)])


def _head(decision: Decision) -> Iterator[str]:
    as_of = f"{decision.as_of.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
    yield f"{decision.world_id}, policy version {decision.policy_version}, data to {as_of}"
    yield f"verdict {decision.verdict}, effective mode {decision.effective_mode}: {WORDS[decision.reason]}"
    yield ", ".join(f"{count} {name}" for name, count in decision.counts.items())


def _table(decision: Decision) -> list[str]:
    shown = dict.fromkeys([*decision.final, *decision.demote, *decision.topk, *decision.queued])
    if not shown:
        return ["Nobody is active, and nobody is to be."]
    rows = [_HEADINGS, *(_row(decision, key) for key in shown)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADINGS))]
    return [_line(row, widths) for row in rows]


def _row(decision: Decision, key: str) -> tuple[str, ...]:
    recorded = decision.recorded(key)
    return (
        recorded.outcome.value,
        key,
        "" if recorded.rank is None else str(recorded.rank),
        "" if recorded.score is None else f"{recorded.score:.4g}",
        _percent(recorded.weight),
        _percent(recorded.weight_before),
        WORDS[recorded.reason],
    )


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    cells = [
        cell.rjust(width) if name in _NUMBERS else cell.ljust(width)
        for name, cell, width in zip(_HEADINGS, row, widths, strict=True)
    ]
    return "  ".join(cells).rstrip()


def _foot(decision: Decision) -> Iterator[str]:
    certificate = decision.certificate
    yield (
        f"{certificate['solver']} selection ({certificate['status']}): value {certificate['value']:.6g}"
        f" of at most {certificate['upper_bound']:.6g}, gap {certificate['gap_pct']:.3g} %"
    )
    for violation in decision.violations:
        yield f"The present set breaks {violation['rule']} {violation['key']} [{violation['code']}]".replace("  ", " ")
    yield f"decision {decision.digest}"


def _percent(weight: float) -> str:
    return f"{100 * weight:.2f} %" if weight else "-"
