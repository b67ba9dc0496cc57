from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest

from qmtl_worlds.contracts.errors import InputInvalidError
from qmtl_worlds.offline.evaluation import Moment, evaluate_returns
from qmtl_worlds.offline.returns_file import read_returns
from qmtl_worlds.offline.state_file import next_state, read_state, write_state
from qmtl_worlds.policy.compiler import compile_policy
from tests.unit.cli.files import POLICY, returns_file

AT_ONCE = POLICY.replace("promote_after: 2, demote_after: 2", "promote_after: 1, demote_after: 1")
GOOD = {
    "format": 1,
    "world": "w1",
    "as_of": "2026-03-02T00:00:00Z",
    "instances": {"a|long": {"weight": 0.1, "since": "2026-03-01T00:00:00Z"}},
}


def saved(folder: Path, **changes: object) -> Path:
    path = folder / "state.json"
    path.write_text(json.dumps({**GOOD, **changes}), encoding="utf-8")
    return path


def test_state_is_read_as_it_was_written(tmp_path: Path) -> None:
    returns = read_returns(returns_file(tmp_path, {"good": 3.0, "bad": -3.0}))
    decision = evaluate_returns(compile_policy(AT_ONCE), returns)
    state = next_state(decision, now=returns.last, before=None)

    write_state(tmp_path / "state.json", state)

    assert read_state(tmp_path / "state.json", world_id="w1") == state
    assert state.has_applied_set
    assert state.instances["good|long"].weight == decision.weights["good|long"]
    assert state.instances["good|long"].since == returns.last
    assert state.instances["bad|long"].since is None
    assert not (tmp_path / "state.json.part").exists()


def test_demoted_member_remembers_when_it_left(tmp_path: Path) -> None:
    policy = compile_policy(AT_ONCE)
    returns = read_returns(returns_file(tmp_path, {"good": 3.0}))
    yesterday = Moment(returns.last - timedelta(days=1), returns.last - timedelta(days=1))
    state = next_state(evaluate_returns(policy, returns, moment=yesterday), now=yesterday.now, before=None)
    worse = read_returns(returns_file(tmp_path, {"good": -3.0}))

    decision = evaluate_returns(policy, worse, previous=state)
    after = next_state(decision, now=worse.last, before=state)

    assert decision.demote == ("good|long",)
    assert after.instances["good|long"].weight == 0
    assert after.instances["good|long"].since == worse.last


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"format": 2}, "format"),
        ({"as_of": "2026-03-02T00:00:00"}, "as_of"),
        ({"surprise": 1}, "surprise"),
        ({"instances": {"a|long": {"weight": 1.5}}}, "instances.a|long.weight"),
        ({"instances": {"a|long": {"in_streak": -1}}}, "instances.a|long.in_streak"),
        ({"instances": {"a": {}}}, "side"),
    ],
)
def test_state_that_nobody_wrote_is_refused_at_its_place(
    tmp_path: Path, changes: dict[str, object], place: str
) -> None:
    with pytest.raises(InputInvalidError) as refused:
        read_state(saved(tmp_path, **changes), world_id="w1")

    assert place in str(refused.value)


def test_state_of_another_world_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputInvalidError, match="is the state of world 'w1', not of 'w2'"):
        read_state(saved(tmp_path), world_id="w2")


def test_text_that_is_no_json_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    path.write_text("{", encoding="utf-8")

    with pytest.raises(InputInvalidError, match="Invalid JSON"):
        read_state(path, world_id="w1")
