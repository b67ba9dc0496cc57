"""Bind strategies to a world: make the instances that may become candidates."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Final, Literal

from django.db import transaction

from audit.recorder import record
from qmtl_worlds.contracts.acts import Act
from qmtl_worlds.contracts.digests import canonical_json, digest
from qmtl_worlds.contracts.errors import InputInvalidError
from qmtl_worlds.contracts.ids import InstanceKey, Side, check_object_id
from strategies.models import SESSION_SECONDS, StrategyInstance
from strategies.selectors import get_roster
from strategies.services.revision import ensure_head, stamp_register

MAX_PARAMS_BYTES: Final = 16_384
MAX_TAGS: Final = 32
MAX_LABEL: Final = 64
MAX_INTERVAL_SECONDS: Final = 366 * SESSION_SECONDS
_BATCH: Final = 500
"""How many instances are made between two statements: a transaction that idles long is ended by PostgreSQL."""


Word = Literal["bound", "rebound", "updated", "unchanged"]


@dataclass(frozen=True, slots=True)
class Binding:
    """What to bind. None leaves a bound instance as it is, and gives a new one the default."""

    strategy_id: str
    side: Side = Side.LONG
    params: Mapping[str, object] | None = None
    sector: str | None = None
    tags: Sequence[str] | None = None
    interval_seconds: int | None = None

    @property
    def key(self) -> InstanceKey:
        """Return the name of the instance within its world."""
        return InstanceKey(self.strategy_id, self.side)


@dataclass(frozen=True, slots=True)
class BindResult:
    """What binding did: ``rebound`` instances took the place of withdrawn ones with other params."""

    bound: tuple[InstanceKey, ...]
    rebound: tuple[InstanceKey, ...]
    updated: tuple[InstanceKey, ...]
    unchanged: tuple[InstanceKey, ...]


@transaction.atomic
def bind_strategies(*, world_id: str, bindings: Sequence[Binding], act: Act) -> BindResult:
    """Bind what is not bound yet; params are part of an instance's identity.

    Other params than the bound ones withdraw the old instance and make a new one with fresh history: the caller puts
    the hold for ``rebound``. The same binding again changes nothing. The caller has made sure that the world exists.
    Where a roster leaves a strategy out, it is bound, but not wanted.

    Raises:
        InputInvalidError: an id, params, sector, tag or interval is out of bounds, or one instance comes twice in
            different words.
    """
    asked = _checked(bindings)
    ensure_head(world_id=world_id)
    present = {instance.key: instance for instance in _bound(world_id, asked)}
    roster = get_roster(world_id)
    wanted = {key.strategy_id for key in asked} if roster is None else set(roster)
    outcome: dict[Word, list[InstanceKey]] = {"bound": [], "rebound": [], "updated": [], "unchanged": []}
    for key, binding in asked.items():
        outcome[_compare(present.get(key), binding)].append(key)
    for key in outcome["updated"]:
        _update(present[key], asked[key])
    replaced = {key: present[key] for key in outcome["rebound"]}
    StrategyInstance.objects.filter(pk__in=[old.pk for old in replaced.values()]).update(withdrawn_at=act.now)
    new = set(outcome["bound"]).union(replaced)
    made = (
        _instance(world_id, _inherit(binding, replaced.get(key)), wanted=key.strategy_id in wanted, act=act)
        for key, binding in asked.items()
        if key in new
    )
    while batch := list(islice(made, _BATCH)):
        StrategyInstance.objects.bulk_create(batch)
    if len(outcome["unchanged"]) < len(asked):
        stamp_register(world_id=world_id)
    _audit(world_id, outcome, act)
    return BindResult(*(tuple(outcome[word]) for word in outcome))


def _checked(bindings: Sequence[Binding]) -> dict[InstanceKey, Binding]:
    """Return the bindings by key, in their order, each once."""
    asked: dict[InstanceKey, Binding] = {}
    for index, binding in enumerate(bindings):
        place = f"strategies[{index}]"
        check_object_id(binding.strategy_id, field=f"{place}.strategy_id")
        _check_details(binding, place)
        if asked.setdefault(binding.key, binding) != binding:
            raise InputInvalidError(field=place, reason=f"names {binding.key.text} again with other details")
    return asked


def _check_details(binding: Binding, place: str) -> None:
    _check_params(binding.params or {}, field=f"{place}.params")
    _check_label(binding.sector or "", field=f"{place}.sector")
    tags = binding.tags or ()
    if len(tags) > MAX_TAGS:
        raise InputInvalidError(field=f"{place}.tags", reason=f"must be at most {MAX_TAGS}")
    for number, tag in enumerate(tags):
        _check_label(tag, field=f"{place}.tags[{number}]")
    if binding.interval_seconds is not None and not 1 <= binding.interval_seconds <= MAX_INTERVAL_SECONDS:
        raise InputInvalidError(field=f"{place}.interval_seconds", reason=f"must be 1 to {MAX_INTERVAL_SECONDS}")


def _check_params(params: Mapping[str, object], *, field: str) -> None:
    try:
        text = canonical_json(params)
    except (TypeError, ValueError) as error:
        raise InputInvalidError(field=field, reason="must be JSON without NaN, Inf or lone surrogates") from error
    if len(text) > MAX_PARAMS_BYTES or b"\\u0000" in text:
        raise InputInvalidError(field=field, reason=f"must be at most {MAX_PARAMS_BYTES} bytes and hold no NUL")


def _check_label(text: str, *, field: str) -> None:
    if len(text) > MAX_LABEL or not text.isprintable():
        raise InputInvalidError(field=field, reason=f"must be at most {MAX_LABEL} printable characters")


def _bound(world_id: str, asked: Mapping[InstanceKey, Binding]) -> Iterable[StrategyInstance]:
    names = sorted({key.strategy_id for key in asked})
    bound = StrategyInstance.objects.filter(world_id=world_id, strategy_id__in=names, withdrawn_at=None)
    return bound.select_for_update(no_key=True).order_by("id")


def _compare(instance: StrategyInstance | None, binding: Binding) -> Word:
    if instance is None:
        return "bound"
    if binding.params is not None and _digest(binding.params) != instance.params_digest:
        return "rebound"
    return "updated" if _changes(instance, binding) else "unchanged"


def _changes(instance: StrategyInstance, binding: Binding) -> dict[str, object]:
    told: dict[str, object | None] = {
        "sector": binding.sector,
        "tags": None if binding.tags is None else list(binding.tags),
        "interval_seconds": binding.interval_seconds,
    }
    return {name: value for name, value in told.items() if value is not None and value != getattr(instance, name)}


def _update(instance: StrategyInstance, binding: Binding) -> None:
    changes = _changes(instance, binding)
    for name, value in changes.items():
        setattr(instance, name, value)
    instance.save(update_fields=list(changes))


def _instance(world_id: str, binding: Binding, *, wanted: bool, act: Act) -> StrategyInstance:
    params = dict(binding.params or {})
    return StrategyInstance(
        world_id=world_id,
        strategy_id=binding.strategy_id,
        side=binding.side.value,
        params=params,
        params_digest=_digest(params),
        sector=binding.sector or "",
        tags=list(binding.tags or ()),
        interval_seconds=binding.interval_seconds or SESSION_SECONDS,
        wanted=wanted,
        submitted_by=act.actor,
        bound_at=act.now,
    )


def _inherit(binding: Binding, previous: StrategyInstance | None) -> Binding:
    """Fill what a binding leaves out from the instance that it replaces, if there is one."""
    if previous is None:
        return binding
    return replace(
        binding,
        sector=previous.sector if binding.sector is None else binding.sector,
        tags=previous.tags if binding.tags is None else binding.tags,
        interval_seconds=binding.interval_seconds or previous.interval_seconds,
    )


def _digest(params: Mapping[str, object]) -> str:
    return digest(dict(params))


def _audit(world_id: str, outcome: Mapping[Word, Sequence[InstanceKey]], act: Act) -> None:
    """Write one event for each kind of change that took place."""
    kinds: dict[Word, str] = {
        "bound": "strategy.bound",
        "rebound": "strategy.rebound",
        "updated": "strategy.updated",
    }
    for word, kind in kinds.items():
        names = [key.text for key in outcome[word]]
        if names:
            subject = names[0] if len(names) == 1 else ""
            record(chain=world_id, kind=kind, act=act, subject=subject, after={"instances": names})
