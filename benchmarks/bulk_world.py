"""A world with many strategies in the database that the environment names."""

from __future__ import annotations

from array import array
from datetime import UTC, datetime, timedelta
from typing import Final

import numpy as np
from django.db import transaction
from numpy.typing import NDArray

from qmtl_worlds.contracts.ids import Side
from strategies.codec import pack_numbers, pack_optional, pack_times
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


def build_world(world_id: str, *, strategies: int, with_leverage: bool = False) -> World:
    """Make a world whose strategies have a return, and a leverage if asked for, on 252 days up to ``LAST_CLOSE``.

    Bindings and policy go through their services, bars through the move that makes blocks of backfilled segments.
    """
    act = act_of_shell(reason="benchmark")
    create_world(new=NewWorld(world_id), act=act)
    policy = store_policy(world_id=world_id, text=POLICY.format(world=world_id), act=act)
    world = World.objects.get(id=world_id)
    with transaction.atomic():
        put_in_force(world=world, policy=policy, act=act)
    sides = (Side.LONG, Side.SHORT)
    bindings = [
        Binding(f"strategy-{number:05}", sides[number % 2], sector=f"sector-{number % SECTORS}")
        for number in range(strategies)
    ]
    bind(world_id=world_id, bindings=bindings, act=act)
    _fill(world_id, returns(strategies), with_leverage=with_leverage)
    refresh_world_currency(world_id=world_id, rule=freshness_rule(world))
    while merge_segments(world_id=world_id):
        pass
    return world


def returns(strategies: int) -> NDArray[np.float64]:
    """Return daily returns, a row a strategy, that follow a few drivers and themselves."""
    rng = np.random.default_rng(20_261_122)
    drivers = rng.standard_normal((DRIVERS, SESSIONS))
    own = rng.standard_normal((strategies, SESSIONS))
    return 0.007 * (drivers[rng.integers(0, DRIVERS, strategies)] + own) + 0.0003


@transaction.atomic
def _fill(world_id: str, matrix: NDArray[np.float64], *, with_leverage: bool) -> None:
    first = LAST_CLOSE - timedelta(days=SESSIONS - 1)
    ts = array("q", [int((first + timedelta(days=day)).timestamp()) for day in range(SESSIONS)])
    times, leverage = pack_times(ts), pack_optional(array("d", [1.0] * SESSIONS) if with_leverage else None)
    instances = list(StrategyInstance.objects.filter(world_id=world_id).order_by("id"))
    SeriesTrack.objects.bulk_create(
        SeriesTrack(instance=instance, provenance=Provenance.PAPER, first_ts=ts[0], last_ts=ts[-1])
        for instance in instances
    )
    Segment.objects.bulk_create(
        [
            Segment(
                world_id=world_id,
                instance=instance,
                first_ts=ts[0],
                last_ts=ts[-1],
                provenance=Provenance.PAPER,
                revision=1,
                times=times,
                ret=pack_numbers(array("d", row.tolist())),
                leverage=leverage,
            )
            for instance, row in zip(instances, matrix, strict=True)
        ],
        batch_size=500,
    )
