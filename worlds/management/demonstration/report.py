"""What the demonstration prints at its end: the Top-K, one explained demotion, a digest of all decisions."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from audit.models import AuditHighlight, AuditRun, HighlightKind
from audit.selectors import find_chunk
from qmtl_worlds.contracts.decision_record import RecordedDecision, decode_row
from qmtl_worlds.explain import explain
from worlds.management.demonstration.story import WORLD_ID, Week
from worlds.models import ApplyRun


def week_line(week: Week, *, of: int) -> str:
    """Return one week in one line: what was decided, and what came of it."""
    decision = json.loads(week.evaluation.decision_bytes())
    counts = f"{len(decision['active'])} active, +{len(decision['promote'])} -{len(decision['demote'])}"
    outcome = _outcome(week.run)
    return f"  {week.number:>3}/{of}  {week.day}  {decision['verdict']:<5} {counts:<20} {outcome}".rstrip()


def top_table(run: AuditRun) -> str:
    """Return the active set that the last evaluation decided, best rank first."""
    decision = json.loads(run.decision_bytes())
    rows = [_row(run, key, decision) for key in decision["active"]]
    header = f"  {'rank':>4}  {'strategy':<28} {'side':<5} {'weight':>7}  {'score':>7}"
    return "\n".join([header, *rows, f"  selection: {_certificate(decision['certificate'])}"])


def explained_demotion() -> str:
    """Return in words why the last demoted instance left."""
    highlight = (
        AuditHighlight.objects.select_related("run")
        .filter(run__world_id=WORLD_ID, kind=HighlightKind.DEMOTED)
        .order_by("run_id", "key")
        .last()
    )
    if highlight is None:
        return "Nothing was demoted."
    return explain(_recorded(highlight.run, highlight.key))


def decisions_digest() -> str:
    """Return the digest over the canonical bytes of every decision, in order: equal for equal histories."""
    hasher = hashlib.sha256()
    for run in AuditRun.objects.filter(world_id=WORLD_ID).order_by("id"):
        hasher.update(run.decision_bytes() + b"\n")
    return f"sha256:{hasher.hexdigest()}"


def _outcome(run: ApplyRun | None) -> str:
    if run is None:
        return ""
    generation = run.target_generation
    return f"{run.state}" + (f", generation {generation}" if generation else "")


def _row(run: AuditRun, key: str, decision: dict[str, Any]) -> str:
    strategy_id, _, side = key.partition("|")
    recorded = _recorded(run, key)
    score = "-" if recorded.score is None else f"{recorded.score:.3f}"
    rank = decision["ranks"].get(key, "-")
    return f"  {rank:>4}  {strategy_id:<28} {side:<5} {100 * decision['weights'][key]:>6.2f}%  {score:>7}"


def _recorded(run: AuditRun, key: str) -> RecordedDecision:
    chunk = find_chunk(run=run, key=key)
    if chunk is None:
        raise LookupError(f"{run} has no decision about {key}")
    return decode_row(chunk, key)


def _certificate(certificate: dict[str, Any]) -> str:
    value, bound, gap = certificate["value"], certificate["upper_bound"], certificate["gap_pct"]
    return f"{certificate['solver']}, value {value:.3f}, at most {bound:.3f} possible (gap {gap:.2f} %)"
