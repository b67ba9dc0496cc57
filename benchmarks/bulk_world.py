"""A world with many strategies in the database that the environment names."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

import numpy as np
from django.db import transaction
from numpy.typing import NDArray

from qmtl_worlds.contracts.ids import Side
from strategies.codec import pack_numbers, pack_times
from strategies.models import Provenance, Segment, SeriesTrack, StrategyInstance
from strategies.services.bind import Binding
from strategies.services.currency import refresh_world_currency
from worlds.models import World
from worlds.services.authority import act_of_shell
from worlds.services.binding import bind
from worlds.services.freshness import freshness_rule
from worlds.services.policies import put_in_force, store_policy
from worlds.services.registry import NewWorld, create_world
from worlds.work.seal import merge_segments

SESSIONS: Final = 252
SESSIONS_AT_ONCE: Final = 126
"""A move takes so many of all instances at once, and puts bars of one time into one block."""
SECTORS: Final = 11
DRIVERS: Final = 40
LAST_CLOSE: Final = datetime(2026, 3, 2, tzinfo=UTC)
POLICY: Final = """\
world: {world}
version: 1
data_currency: {{max_lag: 3650d, min_history: 200d}}
metrics: {{windows: {{short: 30d, mid: 90d, long: 252d}}}}
selection:
  gates: {{and: ["max_dd_252d <= 0.5", "winrate_252d >= 0.3", "var_95_252d <= 0.1"]}}
  score: "sharpe_252d + 0.1 * sortino_252d - 0.2 * ulcer_252d"
  topk: {{total: 8, by_side: {{long: 5, short: 3}}}}
  constraints:
    correlation: {{max_pairwise: 0.8}}
    exposure:
      gross_budget: {{long: 0.6, short: 0.4}}
      max_leverage: 3.0
      assume_leverage: 1.0
      sector_cap: {{per_sector: 0.3}}
  hysteresis: {{promote_after: 2, demote_after: 2, min_dwell: 3h}}
"""


def build_world(world_id: str, *, strategies: int, policy: str = POLICY, lease_ms: int = 3_000) -> World:
    """Make a world whose strategies have a return on each of 252 days up to ``LAST_CLOSE``.

    ``policy`` is text with a place for the world. Bindings and policy go through their services, bars through the move
    that makes blocks of backfilled segments; as with live bars, all that close together are in one block.
    """
    act = act_of_shell(reason="benchmark")
    create_world(new=NewWorld(world_id, lease_ms=lease_ms), act=act)
    stored = store_policy(world_id=world_id, text=policy.format(world=world_id), act=act)
    world = World.objects.get(id=world_id)
    with transaction.atomic():
        put_in_force(world=world, policy=stored, act=act)
    sides = (Side.LONG, Side.SHORT)
    bindings = [
        Binding(f"strategy-{number:05}", sides[number % 2], sector=f"sector-{number % SECTORS}")
        for number in range(strategies)
    ]
    bind(world_id=world_id, bindings=bindings, act=act)
    _fill(world_id, returns(strategies))
    refresh_world_currency(world_id=world_id, rule=freshness_rule(world))
    return world


def returns(strategies: int) -> NDArray[np.float64]:
    """Return daily returns, a row a strategy, that follow a few drivers and themselves."""
    rng = np.random.default_rng(20_261_122)
    drivers = rng.standard_normal((DRIVERS, SESSIONS))
    own = rng.standard_normal((strategies, SESSIONS))
    return 0.007 * (drivers[rng.integers(0, DRIVERS, strategies)] + own) + 0.0003


def _fill(world_id: str, matrix: NDArray[np.float64]) -> None:
    first = LAST_CLOSE - timedelta(days=SESSIONS - 1)
    ts = [int((first + timedelta(days=day)).timestamp()) for day in range(SESSIONS)]
    instances = list(StrategyInstance.objects.filter(world_id=world_id).order_by("id"))
    SeriesTrack.objects.bulk_create(
        SeriesTrack(instance=instance, provenance=Provenance.PAPER, first_ts=ts[0], last_ts=ts[-1])
        for instance in instances
    )
    for start in range(0, SESSIONS, SESSIONS_AT_ONCE):
        part = slice(start, start + SESSIONS_AT_ONCE)
        _backfill(instances, array("q", ts[part]), matrix[:, part])
        while merge_segments(world_id=world_id):
            pass


def _backfill(instances: Sequence[StrategyInstance], ts: array[int], matrix: NDArray[np.float64]) -> None:
    times = pack_times(ts)
    Segment.objects.bulk_create(
        [
            Segment(
                world_id=instance.world_id,
                instance=instance,
                first_ts=ts[0],
                last_ts=ts[-1],
                provenance=Provenance.PAPER,
                revision=1,
                times=times,
                ret=pack_numbers(array("d", row.tolist())),
            )
            for instance, row in zip(instances, matrix, strict=True)
        ],
        batch_size=500,
    )
