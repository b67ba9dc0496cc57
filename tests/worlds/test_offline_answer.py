from __future__ import annotations

from array import array
from bisect import bisect_right
from dataclasses import replace
from datetime import datetime

import numpy as np
import pytest
from django.contrib.auth.models import User

from qmtl_worlds.contracts.ids import InstanceKey
from qmtl_worlds.lifecycle.calendar import Calendar
from qmtl_worlds.offline.evaluation import Moment, evaluate_returns
from qmtl_worlds.offline.returns_file import AMOUNTS, ReturnRows, read_returns
from qmtl_worlds.policy.compiler import compile_policy
from strategies.models import Provenance
from strategies.series import SeriesRows
from strategies.services.append import SeriesTarget
from strategies.services.bind import Binding
from tests.unit.cli.files import EQUITIES, EXAMPLE
from tests.worlds.factories import LAST_CLOSE, make_world, put_policy, shell
from worlds.models import World
from worlds.services.binding import bind, ingest
from worlds.services.evaluations import EvaluationRequest, request_evaluation
from worlds.work.evaluate import evaluate_world

pytestmark = [pytest.mark.django_db, pytest.mark.slow]

TEXT = EQUITIES.read_text(encoding="utf-8").replace("max_lag: 2h ", "max_lag: 3650d ")


def moved_to(returns: ReturnRows, last: datetime) -> ReturnRows:
    """The same bars on the sessions up to ``last``, because the server's clock would find older data stale."""
    times, place = np.unique(returns.ts, return_inverse=True)
    closes = Calendar.load("XNYS").closes
    end = bisect_right(closes, last.timestamp())
    return replace(returns, ts=np.array(closes[end - len(times) : end])[place])


def submit(world: World, returns: ReturnRows) -> None:
    """Bind every instance of the file and push its rows."""
    keys = [InstanceKey.from_text(key) for key in returns.keys]
    bindings = [Binding(key.strategy_id, key.side, sector=returns.sectors[key.text]) for key in keys]
    bind(world_id=world.id, bindings=bindings, act=shell())
    for number, key in enumerate(keys):
        rows = returns.instance == number
        columns = [returns.ret, *(returns.amounts[name] for name in AMOUNTS)]
        ret, leverage, turnover, trades = (array("d", column[rows].tolist()) for column in columns)
        series = SeriesRows(array("q", returns.ts[rows].tolist()), ret, leverage, turnover, trades)
        target = SeriesTarget(world.id, key.strategy_id, Provenance.PAPER, key.side)
        ingest(target=target, rows=series, revise=False, act=shell())


def test_command_line_and_server_give_the_same_bytes(alice: User, bob: User) -> None:
    returns = moved_to(read_returns(EXAMPLE, calendar="XNYS"), LAST_CLOSE)
    world = make_world("us_equity_rules")
    put_policy(world, author=alice, approver=bob, text=TEXT.replace("{", "{{").replace("}", "}}"))
    submit(world, returns)
    request = EvaluationRequest("eval-1", as_of=returns.last)
    request_evaluation(world_id=world.id, request=request, act=shell())

    run = evaluate_world(world_id=world.id, run_id="eval-1", act=shell())
    offline = evaluate_returns(compile_policy(TEXT), returns, moment=Moment(returns.last, run.now))

    assert len(offline.topk) == 8
    assert offline.canonical() == run.decision_bytes()
