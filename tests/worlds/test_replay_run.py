from __future__ import annotations

from array import array

import pytest
from django.contrib.auth.models import User
from django.db import connection

from audit.models import AuditRun
from qmtl_worlds.contracts.digests import digest_bytes
from qmtl_worlds.contracts.errors import RunStateError
from qmtl_worlds.contracts.ids import Side
from strategies.codec import pack_numbers, unpack_floats
from strategies.models import BarBlock, Provenance
from strategies.services.append import SeriesTarget
from strategies.services.bind import Binding
from strategies.services.report import ReportedValues, report_metrics
from tests.worlds.factories import LAST_CLOSE, POLICY, add_day, add_strategy, push, put_policy, shell
from tests.worlds.steps import (
    approve_now,
    evaluate,
    finish,
    first_apply,
    wait_with_increase,
)
from worlds.models import World
from worlds.services.binding import bind, unbind
from worlds.services.evaluations import EvaluationRequest, request_evaluation
from worlds.work.replay_run import replay_run
from worlds.work.seal import merge_segments

pytestmark = pytest.mark.django_db

DEMANDING = (
    POLICY.replace(
        '["sharpe_30d >= 0.5"]', '["sharpe_30d >= 0.5", "reported.alpha > 0 or sample_days > 10", "max_dd_30d < 0.9"]'
    )
    .replace(
        "  constraints:\n", "  constraints:\n    correlation: {{max_pairwise: 0.99, window: 60d, min_overlap: 10}}\n"
    )
    .replace("gross_budget", "sector_cap: {{per_sector: 0.8}}, gross_budget")
)


def replayed(run_id: str) -> tuple[bytes, bytes]:
    run = AuditRun.objects.get(run_id=run_id)
    return replay_run(run), run.decision_bytes()


def test_replay_of_a_recorded_evaluation_gives_the_same_bytes(world: World) -> None:
    evaluate(world)

    again, recorded = replayed("eval-1")

    assert recorded
    assert again == recorded


def test_replay_is_the_same_after_everything_has_moved_on(world: World, alice: User, bob: User) -> None:
    put_policy(world, author=alice, approver=bob, version=2, text=DEMANDING)
    target = SeriesTarget(world.id, "good", Provenance.BACKTEST, Side.LONG)
    report_metrics(target=target, reported=ReportedValues(LAST_CLOSE, {"alpha": 0.5}), act=shell())
    run = wait_with_increase(world, alice, bob)
    approve_now(world, run, bob)
    finish(world, "run-2")
    add_day(world, 2, {"good": 0.01, "better": -0.3, "best": 0.02, "bad": 0.0})
    report_metrics(target=target, reported=ReportedValues(LAST_CLOSE, {"alpha": 9.0}, revise=True), act=shell())
    bind(world_id=world.id, bindings=[Binding("best", Side.LONG, sector="energy")], act=shell())
    bind(world_id=world.id, bindings=[Binding("better", Side.LONG, params={"n": 2})], act=shell())
    unbind(world_id=world.id, strategy_id="good", side=None, act=shell())
    put_policy(world, author=alice, approver=bob, version=3, text=POLICY.replace("0.5", "0.9"))
    evaluate(world, "eval-3", day=2)

    for run_id in ("eval-1", "eval-2", "eval-3"):
        again, recorded = replayed(run_id)
        assert again == recorded


def test_replay_is_the_same_after_the_series_were_revised(world: World) -> None:
    evaluate(world)
    push_revised(world)
    evaluate(world, "eval-2")

    first, second = replayed("eval-1"), replayed("eval-2")

    assert first[0] == first[1]
    assert second[0] == second[1]
    assert first[0] != second[0]


def push_revised(world: World) -> None:
    push(world, "good", (0.001 * (day % 7 - 3) for day in range(60)), side=Side.LONG, days=60, revise=True)


def test_replay_matches_the_digest_that_the_audit_chain_holds(world: World, alice: User, bob: User) -> None:
    first_apply(world, alice, bob)
    add_strategy(world, "best", quality=9)
    run = evaluate(world, "eval-2")

    assert digest_bytes(replay_run(run)) == run.decision_digest


def test_run_that_did_not_decide_cannot_be_replayed(world: World) -> None:
    run = request_evaluation(world_id=world.id, request=EvaluationRequest("eval-1"), act=shell())

    with pytest.raises(RunStateError):
        replay_run(run)


def test_replay_notices_that_stored_data_was_altered_behind_its_back(world: World) -> None:
    run = evaluate(world)
    with connection.cursor() as cursor:
        cursor.execute("UPDATE strategies_segment SET provenance = 'live'")
        cursor.execute("DELETE FROM strategies_segment WHERE id = (SELECT min(id) FROM strategies_segment)")

    with pytest.raises(RunStateError, match="without the inputs"):
        replay_run(run)


def in_blocks(world: World) -> BarBlock:
    """Move all bars into blocks and return the one of the last close."""
    while merge_segments(world_id=world.id):
        pass
    return BarBlock.objects.get(world=world, ts=int(LAST_CLOSE.timestamp()))


def alter(block: BarBlock) -> None:
    """Change the returns that are stored, and nothing that is kept beside them."""
    block.ret = pack_numbers(array("d", [value / 2 for value in unpack_floats(bytes(block.ret))]))
    block.save(update_fields=["ret"])


def test_replay_of_an_evaluation_from_blocks_gives_the_same_bytes(world: World) -> None:
    in_blocks(world)
    evaluate(world)

    again, recorded = replayed("eval-1")

    assert again == recorded


def test_replay_notices_a_block_that_was_altered_after_the_evaluation(world: World) -> None:
    block = in_blocks(world)
    run = evaluate(world)
    alter(block)

    with pytest.raises(RunStateError, match="without the inputs"):
        replay_run(run)


def test_replay_notices_a_block_that_was_altered_before_the_evaluation(world: World) -> None:
    alter(in_blocks(world))
    run = evaluate(world)

    with pytest.raises(RunStateError, match="without the inputs"):
        replay_run(run)


def test_replay_notices_that_an_evaluation_read_an_altered_digest(world: World) -> None:
    block = in_blocks(world)
    block.digest = bytes(32)
    block.save(update_fields=["digest"])
    run = evaluate(world)

    with pytest.raises(RunStateError, match="without the inputs"):
        replay_run(run)


def test_replay_is_the_same_after_bars_have_moved_into_blocks(world: World) -> None:
    run = evaluate(world)
    in_blocks(world)

    again = replay_run(run)

    assert BarBlock.objects.exclude(digest=b"").count() == 60
    assert again == run.decision_bytes()
