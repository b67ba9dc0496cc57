"""Worlds for QMTL's clients: what is said of them, and what their clients send, put into our terms."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, Final

from qmtl_worlds.contracts.ids import Side
from qmtl_worlds.contracts.metric_names import REPORTED_PREFIX, parse_metric
from qmtl_worlds.policy.compiler import CompiledPolicy
from qmtl_worlds.policy.dialect import source_of
from strategies.services.report import MAX_METRICS
from worlds.models import PolicyVersion, World
from worlds.services.run_rows import compiled

QMTL: Final = "qmtl"
NOTICE: Final = (
    "This world serves QMTL clients on paper. These clients do not fail closed: one that hears nothing goes on trading "
    "as it was told last. Live worlds need the SDK of QMTL Worlds."
)
RESERVED: Final = "qmtl.history"
"""The key of a world's metadata under which the coverage that clients told is kept; it is not echoed."""


def notice_of(world: World) -> str:
    """Return what must be said before a world is described; empty for all but compatibility worlds."""
    return f"{NOTICE}\n\n" if world.compat == QMTL else ""


def flat_metrics(nested: Mapping[str, Any], *, policy: CompiledPolicy) -> dict[str, float]:
    """Return metrics by the name under which a policy can read them, at most as many as one report may hold.

    QMTL nests metrics in sections. Each number stands under its own key, the first of equal keys counts; one that the
    policy names by its whole path stands under that path too, with underscores. Truth values and texts are no metrics;
    NaN and infinity prove nothing and are left out, and so is a name that no policy can write.
    """
    read = {ref.base.removeprefix(REPORTED_PREFIX) for ref in policy.metrics if ref.is_reported}
    found: dict[str, float] = {}
    for path, value in _numbers(nested, ()):
        found.setdefault(path[-1], value)
        if (whole := "_".join(path)) in read:
            found.setdefault(whole, value)
    names = sorted((name for name in found if parse_metric(REPORTED_PREFIX + name)), key=lambda name: name not in read)
    return {name: found[name] for name in names[:MAX_METRICS]}


def without_memory(decision: Mapping[str, Any], *, policy: PolicyVersion | None) -> dict[str, Any]:
    """Return a decision as a policy in QMTL's dialect means it: whoever is selected is active, at once.

    Our streaks count closed bars, of which a client that sends metrics alone has none. A decision under a canonical
    policy is left as it is.
    """
    if policy is None or source_of(policy.text) is None:
        return dict(decision)
    chosen, before = decision["topk"], {*decision["hold"], *decision["demote"]}
    slot = compiled(policy).slot_weight(Side.LONG)
    return {
        **decision,
        "active": chosen,
        "promote": [text for text in chosen if text not in before],
        "demote": sorted(before.difference(chosen)),
        "hold": [text for text in chosen if text in before],
        "weights": {text: decision["weights"].get(text, slot) for text in chosen},
    }


def bare(text: str) -> str:
    """Return how QMTL names an instance: by its strategy, since it knows no sides in decisions."""
    return text.removesuffix("|long")


def bare_keys(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values by instance under QMTL's names."""
    return {bare(text): value for text, value in values.items()}


def _numbers(nested: Mapping[str, Any], above: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], float]]:
    for key, value in nested.items():
        if isinstance(value, Mapping):
            yield from _numbers(value, (*above, key))
        elif isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            yield (*above, key), float(value)
