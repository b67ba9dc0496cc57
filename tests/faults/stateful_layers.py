"""The oracle's overrides and waits for flat positions: taken away by one person at once, given back by two."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from qmtl_worlds.contracts.ids import InstanceKey
from qmtl_worlds.contracts.plans import ChangeReason
from qmtl_worlds.lifecycle.holds import HoldKind, make_hold
from tests.faults.simulator_rows import ensure
from tests.faults.stateful_reopenings import FLAT, OVERRIDE, Reopenings
from tests.faults.stateful_requests import SHELL
from tests.faults.stateful_rows import Layer, Refused, Wanted
from tests.faults.stateful_runs import SYSTEM

UNCAPPED: Final = 1.0
FREEZE: Final = "override:freeze"


@dataclass(frozen=True, slots=True)
class Laying:
    """What somebody wants of an instance; without ``weight`` it is not capped, ``seconds`` 0 lasts."""

    active: bool
    weight: float | None = None
    freeze: bool | None = None
    seconds: int = 0

    def until(self, now: datetime) -> datetime | None:
        return now + timedelta(seconds=self.seconds) if self.seconds else None


class Layers(Reopenings):
    """What lies over instances, and who waits for the word of a Runner."""

    def override(self, actor: str, key: InstanceKey, laying: Laying) -> str:
        """Lay something over an instance at once; what permits more than what lies there is asked for."""
        if not self.may(actor, "override.request"):
            self.must(actor, "gate.close")
        present = self.rows.layers.get(key)
        freeze = (present is not None and present.freeze) if laying.freeze is None else laying.freeze
        cap = (UNCAPPED if laying.weight is None else laying.weight) if laying.active else 0.0
        wanted = Layer(0, cap, freeze, laying.until(self.clock.now))
        self._within_set(key, laying, present)
        if present is not None and _permits_more(wanted, present):
            self.want(OVERRIDE, key, (*wanted.permits, _stamp(present)), actor)
        elif present is None and cap >= UNCAPPED and not freeze:
            if self._waits(key):
                self.want(FLAT, key, (), actor)
        elif present is None or present.permits != wanted.permits:
            self.must(actor, "gate.close")
            self.forget(OVERRIDE, key, actor)
            self._lay(key, wanted, actor)
        return "ok"

    def acknowledge(self, keys: tuple[InstanceKey, ...], behind: int) -> str:
        """Let the Runner say, ``behind`` so many events, that these hold nothing: waits that it had heard of end."""
        heard = max(0, self.sequence - behind)
        if heard > self.sequence:
            raise Refused("InputInvalidError")
        self.rows.heard = max(self.rows.heard or (0, 0), (heard, len(self.rows.kills)))
        ended = [name for key in keys for name in self._waits(key) if heard >= self._visible_from(name)]
        for name in ended:
            ensure("SEMANTICS 5", holds=heard >= self.rows.holds[name].sequence, says="flat before it was asked")
        self._end_waits(ended, "gate.flat_acknowledged", SHELL)
        return "ok"

    def tick(self) -> str:
        """End what is over: it reopens only for who is in the newest set that was decided."""
        newest, now = self.rows.newest_ok(), self.clock.now
        for key, layer in sorted(self.rows.layers.items()):
            if layer.expires_at is None or now < layer.expires_at:
                continue
            if newest is not None and key in newest.decision.after.weights:
                self._take_away(key, "override.expired", SYSTEM)
            else:
                self.rows.layers[key] = replace(layer, expires_at=None, stays_closed=True)
                self.record("override.expired", SYSTEM)
        return super().tick()

    def loosen(self, asked: Wanted, actor: str) -> None:
        """Lay what was asked for in the place of what lay there then."""
        key = asked.key
        assert key is not None
        present = self.rows.layers.get(key)
        cap, freeze, expires_at, over = asked.about
        if present is None or _stamp(present) != over:
            raise Refused("PlanStaleError")
        assert isinstance(cap, float)
        assert expires_at is None or isinstance(expires_at, datetime)
        self.record("override.approved", f"person:{actor}")
        if cap >= UNCAPPED and not freeze:
            self._take_away(key, "override.lifted", f"person:{actor}")
        else:
            self._lay(key, Layer(0, cap, bool(freeze), expires_at), actor)

    def waive(self, asked: Wanted, actor: str) -> None:
        """Let two people answer for a position of which no Runner has said that it is flat."""
        assert asked.key is not None
        waits = self._waits(asked.key)
        if not waits:
            raise Refused("PlanStaleError")
        self._end_waits(waits, "gate.flat_waived", f"person:{actor}")

    def _within_set(self, key: InstanceKey, laying: Laying, present: Layer | None) -> None:
        seat = self.rows.seats.get(key)
        if seat is None and self.rows.bound(key) is None:
            raise Refused("StrategyNotFoundError")
        if not laying.active:
            return
        too_much = seat is not None and laying.weight is not None and laying.weight > seat.weight
        if too_much or (seat is None and present is None and not self._waits(key)):
            raise Refused("InputInvalidError")

    def _lay(self, key: InstanceKey, wanted: Layer, actor: str) -> None:
        """A change keeps the row; who becomes inactive leaves the set, or begins anew to cool down."""
        before = self.rows.layers.get(key)
        if before is None:
            self.rows.layers_made += 1
        number = self.rows.layers_made if before is None else before.number
        by = f"person:{actor}"
        self.rows.layers[key] = replace(wanted, number=number, by=by, at=self.clock.now)
        self.announce("activation_updated")
        self._hold(key, before, wanted, by)
        self.record("override.set", by)
        was, now = before is not None and before.cap == 0, wanted.cap == 0
        if now and not was:
            self.record("strategy.deactivated", by)
            one = self.rows.bound(key)
            if key not in self.rows.seats and one is not None:
                self.rows.demotions[one.number] = self.clock.now
            self.drop([key], ChangeReason.OPERATOR, "deactivate", actor)
        if was and not now:
            self.record("strategy.reactivated", by)

    def _take_away(self, key: InstanceKey, kind: str, by: str) -> None:
        layer = self.rows.layers.pop(key)
        self.announce("activation_updated")
        self._hold(key, layer, Layer(0, UNCAPPED, freeze=False, expires_at=None), by)
        self.record(kind, by)
        if layer.cap == 0:
            self.record("strategy.reactivated", by)

    def _hold(self, key: InstanceKey, before: Layer | None, after: Layer, by: str) -> None:
        wanted = {(HoldKind.OVERRIDE, key.text): after.cap == 0, (HoldKind.FREEZE, FREEZE): after.freeze}
        there = {
            (HoldKind.OVERRIDE, key.text): before is not None and before.cap == 0,
            (HoldKind.FREEZE, FREEZE): before is not None and before.freeze,
        }
        for (kind, owner), is_wanted in wanted.items():
            if is_wanted and not there[kind, owner]:
                self.place(make_hold(kind, owner, key=key), by)
            if there[kind, owner] and not is_wanted:
                self.rows.holds.pop((kind, owner, key), None)

    def _waits(self, key: InstanceKey) -> list[tuple[HoldKind, str, InstanceKey | None]]:
        return [name for name in self.rows.holds if name[0] is HoldKind.AWAITING_FLAT and name[2] == key]

    def _visible_from(self, name: tuple[HoldKind, str, InstanceKey | None]) -> int:
        """Several changes may be of one time: only who has heard the last of them has heard of the wait for certain."""
        placed = self.rows.holds[name].at
        return max(number for number, (_, at) in enumerate(self.rows.outbox, 1) if at == placed)

    def _end_waits(self, ended: list[tuple[HoldKind, str, InstanceKey | None]], kind: str, by: str) -> None:
        for name in ended:
            del self.rows.holds[name]
            self.record(kind, by)
        if ended:
            self.announce("activation_updated")


def _permits_more(wanted: Layer, present: Layer) -> bool:
    """To end sooner is to permit more too."""
    sooner = wanted.expires_at is not None and (present.expires_at is None or wanted.expires_at < present.expires_at)
    return (present.freeze and not wanted.freeze) or wanted.cap > present.cap or sooner


def _stamp(layer: Layer) -> tuple[object, ...]:
    return layer.number, layer.at, layer.stays_closed
