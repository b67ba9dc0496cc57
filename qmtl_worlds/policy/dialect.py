"""Policies as QMTL's clients write them, compiled to the canonical form. Nothing that they say is dropped.

``thresholds`` become gates, ``top_k`` the score and the slots, ``correlation`` the cap on pairs. A metric that is none
of ours is one that Runners report. The ``hysteresis`` band becomes a gate at ``enter`` and a bonus of its width for
whoever is active: gates have no memory, so the set is never larger than the one that QMTL would choose.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from qmtl_worlds.contracts.metric_names import REPORTED_PREFIX, parse_metric
from qmtl_worlds.policy.faults import invalid
from qmtl_worlds.policy.fields import MAX_SLOTS
from qmtl_worlds.policy.places import Path, PathFault, SourceTree
from qmtl_worlds.policy.presets import PRESETS

LOWEST: Final = -1e9
"""QMTL ranks negative scores too; canonical policies have a least score."""
MAX_LAG: Final = "1d"
SOURCE_PREFIX: Final = "# qmtl: "
_RULES: Final = ("thresholds", "top_k", "correlation", "hysteresis")
_PRESET_WORDS: Final = ("preset_mode", "preset_version")
_MODES: Final = ("shared", "clone", "extend")
_KEYS: Final = ("world", "version", "data_currency", *_RULES, "preset", *_PRESET_WORDS, "preset_overrides")


def is_dialect(value: object) -> bool:
    """Tell whether a policy is written in QMTL's dialect; one with a canonical ``selection`` or ``score`` is not."""
    return isinstance(value, Mapping) and "selection" not in value and any(key in value for key in (*_RULES, "preset"))


def translate(tree: SourceTree, *, world_id: str, version: int) -> dict[str, Any]:
    """Return the canonical document of a policy in QMTL's dialect, as JSON values.

    Raises:
        PolicyInvalidError: with all faults, each with its path: unknown keys, wrong types, contradictions.
    """
    reading = _Reading(tree)
    given = reading.section(tree.value, (), _KEYS)
    rules = _rules(reading, given)
    selection = _selection(reading, rules)
    _check_names(reading, given, world_id)
    if reading.faults:
        raise invalid(reading.faults, tree)
    return {
        "world": world_id,
        "version": version,
        "data_currency": given.get("data_currency") or {"max_lag": MAX_LAG},
        "selection": selection,
    }


def canonical_text(document: Mapping[str, Any], source: object) -> str:
    """Return the text that is stored: the canonical document, and in its first line what the client sent."""
    said = json.dumps(source, separators=(",", ":"), sort_keys=True)
    return f"{SOURCE_PREFIX}{said}\n{json.dumps(document, indent=2)}\n"


def source_of(text: str) -> dict[str, Any] | None:
    """Return what the client sent for a stored text; None where the text is nobody's translation."""
    first = text.partition("\n")[0]
    if not first.startswith(SOURCE_PREFIX):
        return None
    said = json.loads(first.removeprefix(SOURCE_PREFIX))
    return said if isinstance(said, dict) else None


def metric_of(name: str) -> str | None:
    """Return the canonical name of a metric as QMTL names it; None where it can be none.

    A dot, by which QMTL names a leaf of nested metrics, becomes an underscore.
    """
    if parse_metric(name) is not None:
        return name
    reported = REPORTED_PREFIX + name.removeprefix(REPORTED_PREFIX).replace(".", "_")
    return reported if parse_metric(reported) is not None else None


class _Reading:
    """Reads sections strictly, and collects all faults."""

    def __init__(self, tree: SourceTree) -> None:
        self.faults = list(tree.faults)

    def fault(self, path: Path, code: str, message: str) -> None:
        self.faults.append(PathFault(path, code, message))

    def section(self, value: object, path: Path, known: tuple[str, ...]) -> dict[str, Any]:
        """Return a section of known keys; each other key is a fault, with a guess at what was meant."""
        if not isinstance(value, dict):
            self.fault(path, "wrong-type", "must be a section of keys")
            return {}
        for key in value:
            if key not in known:
                message = f"there is no key {key[:40]!a} here"
                self.faults.append(
                    PathFault((*path, key), "unknown-key", message, at_key=True, word=key, choices=known)
                )
        return {key: one for key, one in value.items() if key in known and one is not None}

    def number(self, section: Mapping[str, Any], key: str, path: Path) -> float | None:
        """Return a finite number, None where there is none."""
        value = section.get(key)
        if value is None:
            return None
        if not isinstance(value, int | float) or isinstance(value, bool):
            self.fault((*path, key), "wrong-type", "must be a number")
            return None
        if not math.isfinite(value) or abs(value) > -LOWEST:
            self.fault((*path, key), "bad-number", "must be a finite number between -1e9 and 1e9")
            return None
        return float(value)

    def required(self, section: Mapping[str, Any], key: str, path: Path) -> float:
        """Return a number that must be there."""
        if section.get(key) is None:
            self.fault((*path, key), "missing", "is required")
        return self.number(section, key, path) or 0.0

    def metric(self, value: object, path: Path) -> str:
        """Return the canonical name of a metric."""
        name = metric_of(value) if isinstance(value, str) else None
        if name is None:
            self.fault(path, "bad-format", "must be the name of a metric: lower-case letters, digits, underscores")
        return name or ""


def _rules(reading: _Reading, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the four rules: those of the preset, where one is named, under those that are given."""
    overrides = given.get("preset_overrides", {})
    if "preset" not in given:
        for key in ("preset_overrides", *_PRESET_WORDS):
            if key in given:
                reading.fault((key,), "contradiction", "needs a preset")
        return {name: given[name] for name in _RULES if name in given}
    preset = PRESETS.get(given["preset"]) if isinstance(given["preset"], str) else None
    if preset is None:
        reading.fault(("preset",), "not-one-of", f"must be one of {', '.join(PRESETS)}")
        return {"top_k": {"metric": "sharpe", "k": 1}}
    if given.get("preset_mode") not in {None, *_MODES}:
        reading.fault(("preset_mode",), "not-one-of", f"must be one of {', '.join(_MODES)}")
    rules = {**preset, **{name: given[name] for name in _RULES if name in given}}
    return _overridden(reading, rules, overrides)


def _overridden(reading: _Reading, rules: dict[str, Any], overrides: object) -> dict[str, Any]:
    """Lay ``{"max_drawdown.max": 0.2}`` over the thresholds."""
    if not isinstance(overrides, dict):
        reading.fault(("preset_overrides",), "wrong-type", "must be a section of keys")
        return rules
    thresholds = rules.get("thresholds", {})
    if not isinstance(thresholds, dict):
        return rules
    changed = {name: dict(rule) if isinstance(rule, Mapping) else rule for name, rule in thresholds.items()}
    for key, value in overrides.items():
        name, _, bound = key.rpartition(".")
        if bound not in {"min", "max"} or not isinstance(changed.setdefault(name, {}), dict):
            reading.fault(("preset_overrides", key), "unknown-key", "must be <metric>.min or <metric>.max")
            continue
        changed[name][bound] = value
    return {**rules, "thresholds": changed} if changed else rules


def _selection(reading: _Reading, rules: Mapping[str, Any]) -> dict[str, Any]:
    if "top_k" not in rules:
        reading.fault(("top_k",), "missing", "is required: the number of slots decides the weights")
    top = reading.section(rules.get("top_k", {}), ("top_k",), ("metric", "k"))
    score = reading.metric(top.get("metric"), ("top_k", "metric")) if "top_k" in rules else ""
    slots = _slots(reading, top) if "top_k" in rules else 1
    gates = _thresholds(reading, rules.get("thresholds", {}))
    selection: dict[str, Any] = {
        "gates": {"and": gates},
        "score": score,
        "min_score": LOWEST,
        "topk": {"total": slots, "by_side": {"long": slots, "short": 0}},
        "constraints": {"exposure": {"gross_budget": {"long": 1.0}}},
    }
    _add_band(reading, rules, selection)
    if not gates:
        gates.append(f"{score} >= {_text(LOWEST)}")
    _add_correlation(reading, rules, selection)
    return selection


def _slots(reading: _Reading, top: Mapping[str, Any]) -> int:
    slots = top.get("k")
    if not isinstance(slots, int) or isinstance(slots, bool) or not 1 <= slots <= MAX_SLOTS:
        reading.fault(("top_k", "k"), "out-of-range", f"must be a whole number from 1 to {MAX_SLOTS}")
        return 1
    return slots


def _thresholds(reading: _Reading, given: object) -> list[str]:
    gates: list[str] = []
    if not isinstance(given, dict):
        reading.fault(("thresholds",), "wrong-type", "must be a section of keys")
        return gates
    for name, rule in given.items():
        path: Path = ("thresholds", name)
        section = reading.section(rule, path, ("metric", "min", "max"))
        metric = reading.metric(section.get("metric", name), (*path, "metric") if "metric" in section else path)
        least, most = (reading.number(section, bound, path) for bound in ("min", "max"))
        if least is None and most is None:
            reading.fault(path, "missing", "needs min or max")
        gates += [f"{metric} >= {_text(least)}"] if least is not None else []
        gates += [f"{metric} <= {_text(most)}"] if most is not None else []
    return gates


def _add_band(reading: _Reading, rules: Mapping[str, Any], selection: dict[str, Any]) -> None:
    if "hysteresis" not in rules:
        return
    path: Path = ("hysteresis",)
    band = reading.section(rules["hysteresis"], path, ("metric", "enter", "exit"))
    metric = reading.metric(band.get("metric"), (*path, "metric"))
    enter, leave = (reading.required(band, bound, path) for bound in ("enter", "exit"))
    if leave > enter:
        reading.fault((*path, "exit"), "contradiction", "must not be above enter")
        return
    condition = f"{metric} >= {_text(enter)}"
    if condition not in selection["gates"]["and"]:
        selection["gates"]["and"].append(condition)
    if metric == selection["score"]:
        selection["incumbent_bonus"] = float(Decimal(repr(enter)) - Decimal(repr(leave)))


def _add_correlation(reading: _Reading, rules: Mapping[str, Any], selection: dict[str, Any]) -> None:
    if "correlation" not in rules:
        return
    given = reading.section(rules["correlation"], ("correlation",), ("max",))
    cap = reading.required(given, "max", ("correlation",))
    if not 0 <= cap <= 1:
        reading.fault(("correlation", "max"), "out-of-range", "must be in [0, 1]")
    selection["constraints"]["correlation"] = {"max_pairwise": cap, "mode": "abs", "on_unknown": "ignore"}


def _check_names(reading: _Reading, given: Mapping[str, Any], world_id: str) -> None:
    if given.get("world", world_id) != world_id:
        reading.fault(("world",), "world-mismatch", f"must be {world_id}")


def _text(number: float) -> str:
    """Write a number as expressions read it: no exponent."""
    return format(Decimal(repr(number)).normalize(), "f")
