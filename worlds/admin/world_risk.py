"""The risk circuit of a world: equity, the mark it is measured against, and how near each limit is."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from qmtl_worlds.lifecycle.circuit import Limits
from worlds.admin.badges import Badge, badge
from worlds.admin.words import ABSENT, ago, moment
from worlds.models import CircuitState, World
from worlds.services.circuits import find_circuit, limits_of

SCALE: Final = 800
"""Where in a picture of 1000 units the limit stands; what is beyond 1.25 times the limit fills it."""


@dataclass(frozen=True, slots=True)
class MeasureView:
    """One figure against its limit; ``bar`` and ``warn`` are places in a picture of 1000 units."""

    name: str
    value: str
    limit: str
    bar: int
    warn: int
    state: Badge


@dataclass(frozen=True, slots=True)
class CircuitView:
    """What the panel shows; ``limit_at`` is where the limits stand in the pictures."""

    state: Badge
    incident: str
    tripped_at: str
    equity: str
    high_water: str
    high_water_at: str
    measures: tuple[MeasureView, ...]
    confirm: int
    input: Badge
    seen: str
    limit_at: int = SCALE


def circuit_view(world: World, *, now: datetime) -> CircuitView | None:
    """Return the panel at ``now``, the database's time; None where nothing is limited and nothing has tripped."""
    limits, state = limits_of(world), find_circuit(world_id=world.id)
    if limits is None and (state is None or not state.incident):
        return None
    state, limits = state or CircuitState(world=world), limits or Limits()
    measures = tuple(
        _measure(name, value, limit, limits.warn_at, percent=percent)
        for name, value, limit, percent in (
            ("Drawdown", _first(state, "modelled", "drawdown"), limits.max_drawdown, True),
            ("VaR 95", _first(state, "last_sample", "var_95"), limits.var_95, True),
            ("Leverage", _first(state, "last_sample", "leverage"), limits.max_leverage, False),
        )
        if limit is not None or value is not None
    )
    tripped = bool(state.incident)
    return CircuitView(
        state=badge("tripped" if tripped else "near a limit" if state.warned else "in its limits"),
        incident=state.incident,
        tripped_at=moment(state.tripped_at) if tripped else "",
        equity=_money(_first(state, "modelled", "equity")),
        high_water=_money(state.high_water),
        high_water_at=moment(state.high_water_at) if state.high_water_at else "",
        measures=measures,
        confirm=limits.confirm_samples,
        input=badge("fresh" if state.fresh_until and now <= state.fresh_until else "stale"),
        seen=ago(state.last_ts, now=now),
    )


def _measure(name: str, value: float | None, limit: float | None, warn_at: float, *, percent: bool) -> MeasureView:
    used = None if value is None or limit is None or limit <= 0 else value / limit
    return MeasureView(
        name=name,
        value=_figure(value, percent=percent),
        limit=_figure(limit, percent=percent),
        bar=0 if used is None else round(min(used, 1000 / SCALE) * SCALE),
        warn=round(warn_at * SCALE),
        state=badge(_state(used, warn_at)),
    )


def _state(used: float | None, warn_at: float) -> str:
    if used is None:
        return "not measured"
    return "over its limit" if not used <= 1 else "near a limit" if not used < warn_at else "in its limits"


def _first(state: CircuitState, kind: str, name: str) -> float | None:
    """Return the figure of the sample or of what is modelled, of ``kind`` where that has one, as the API does."""
    found = {"modelled": state.modelled, "last_sample": state.last_sample}
    value = found.pop(kind).get(name)
    if value is None:
        (other,) = found.values()
        value = other.get(name)
    return None if value is None else float(value)


def _figure(value: float | None, *, percent: bool) -> str:
    if value is None:
        return ABSENT
    return f"{value:.2%}".replace("%", " %") if percent else f"{value:.2f}"


def _money(value: float | None) -> str:
    return ABSENT if value is None else f"{value:,.2f}"
