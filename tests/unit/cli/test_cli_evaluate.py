from __future__ import annotations

import gzip
import io
import json
import subprocess
import sys
from pathlib import Path

import pytest

from qmtl_worlds.cli import main
from tests.unit.cli.files import EQUITIES, EXAMPLE, POLICY, ROOT, SAMPLE, policy_file, returns_file, returns_text

QUALITIES = {"good": 3.0, "better": 6.0, "bad": -3.0}


class Desk:
    """A folder with a policy and returns, and what the command line says about them."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self.policy = policy_file(folder)
        self.returns = returns_file(folder, QUALITIES)
        self.state = folder / "state.json"
        self._capsys = capsys

    def run(self, command: str, *more: str) -> tuple[int, str, str]:
        code = main([command, "--policy", str(self.policy), "--returns", str(self.returns), *more])
        said = self._capsys.readouterr()
        return code, said.out, said.err

    def decide(self, *more: str) -> dict[str, object]:
        code, out, err = self.run("evaluate", "--json", *more)
        assert code == 0, err
        decision: dict[str, object] = json.loads(out)
        return decision


@pytest.fixture
def desk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Desk:
    return Desk(tmp_path, capsys)


def test_evaluate_ranks_those_that_pass_the_gates(desk: Desk) -> None:
    decision = desk.decide()

    assert decision["topk"] == ["better|long", "good|long"]
    assert decision["as_of"] == "2026-03-02T00:00:00.000000Z"


def test_evaluate_gives_the_same_bytes_again_whatever_the_order_of_the_rows(desk: Desk) -> None:
    first = desk.run("evaluate", "--json")
    again = desk.run("evaluate", "--json")
    header, *rows = desk.returns.read_text(encoding="utf-8").splitlines()
    desk.returns.write_text("\n".join([header, *sorted(rows)]), encoding="utf-8")

    by_time = desk.run("evaluate", "--json")

    assert first == again == by_time


def test_evaluate_reads_gzip_and_the_standard_input(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = desk.run("evaluate", "--json")
    packed = gzip.compress(desk.returns.read_bytes())
    desk.returns.write_bytes(packed)
    from_gzip = desk.run("evaluate", "--json")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(packed)))

    from_stdin = desk.run("evaluate", "--json", "--returns", "-")

    assert plain == from_gzip == from_stdin


def test_evaluate_leaves_out_bars_after_as_of(desk: Desk) -> None:
    early = desk.decide("--as-of", "2026-02-20T00:00:00Z", "--now", "2026-02-20T00:00:00Z")
    rows = [row for row in desk.returns.read_text(encoding="utf-8").splitlines() if row[:10] < "2026-02-20"]
    desk.returns.write_text("\n".join([returns_text({}).strip(), *rows]), encoding="utf-8")

    assert desk.decide() == early


def test_as_of_may_be_the_date_of_a_session(desk: Desk) -> None:
    assert desk.decide("--as-of", "2026-02-19") == desk.decide("--as-of", "2026-02-20T01:00:00+01:00")


def test_data_older_than_max_lag_is_stale(desk: Desk) -> None:
    fresh = desk.decide("--now", "2026-03-04T00:00:00Z")
    stale = desk.decide("--now", "2026-03-04T00:00:01Z")

    assert (fresh["effective_mode"], fresh["reason"]) == ("validate", "no_applied_set")
    assert (stale["effective_mode"], stale["reason"]) == ("compute-only", "nothing_fresh")


def test_state_carries_streaks_until_a_strategy_is_promoted(desk: Desk) -> None:
    save, load = ["--save-state", str(desk.state)], ["--previous", str(desk.state)]

    first = desk.decide("--as-of", "2026-02-27", *save)
    same_evidence = desk.decide("--as-of", "2026-02-27", *load, *save)
    second = desk.decide("--as-of", "2026-02-28", *load, *save)
    third = desk.decide("--as-of", "2026-03-01", *load, *save)

    assert [first["promote"], same_evidence["promote"]] == [[], []]
    assert second["promote"] == ["better|long", "good|long"]
    assert second["weights"] == {"better|long": 0.3, "good|long": 0.3}
    assert (third["hold"], third["effective_mode"]) == (["better|long", "good|long"], "paper")


def test_member_without_a_bar_in_the_file_is_kept_as_unknown_and_the_run_is_inconclusive(desk: Desk) -> None:
    save, load = ["--save-state", str(desk.state)], ["--previous", str(desk.state)]
    desk.decide("--as-of", "2026-02-27", *save)
    desk.decide("--as-of", "2026-02-28", *load, *save)
    returns_file(desk.folder, {"good": 3.0})

    code, out, _ = desk.run("evaluate", "--json", *load)

    assert code == 2
    assert json.loads(out)["verdict"] == "inconclusive"
    assert json.loads(out)["hold"] == ["good|long", "better|long"]


def test_table_shows_members_first_and_the_digest_last(desk: Desk) -> None:
    code, out, _ = desk.run("evaluate", "--table")

    lines = out.splitlines()
    assert code == 0
    assert lines[0] == "w1, policy version 1, data to 2026-03-02T00:00:00Z"
    assert lines[5].split()[:3] == ["out", "better|long", "1"]
    assert lines[-1].startswith("decision sha256:")


def test_table_without_anybody_says_so(desk: Desk) -> None:
    returns_file(desk.folder, {"bad": -3.0})

    assert "Nobody is active, and nobody is to be." in desk.run("evaluate")[1]


def test_explain_names_the_first_rule_in_the_way(desk: Desk) -> None:
    code, out, _ = desk.run("explain", "--strategy", "bad")

    assert code == 0
    assert out.startswith("bad|long is not active: it fails a gate.")
    assert "First rule in the way: gates: sharpe_30d >= 0.5; " in out


def test_explain_asks_for_the_side_where_the_file_has_both(desk: Desk) -> None:
    text = desk.returns.read_text(encoding="utf-8")
    desk.returns.write_text(text + "2026-03-01,good,short,0.01\n", encoding="utf-8")

    code, _, err = desk.run("explain", "--strategy", "good")

    assert (code, err) == (4, "qmtl-worlds: side: must be named, because the file has both.\n")
    assert desk.run("explain", "--strategy", "good", "--side", "short")[0] == 0


def test_explain_of_a_strategy_that_is_not_there_is_an_error(desk: Desk) -> None:
    assert desk.run("explain", "--strategy", "nobody")[0] == 4


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--as-of", "2026-02-30"], "as-of: "),
        (["--as-of", "2026-02-20T00:00:00"], "has no offset"),
        (["--now", "2026-02-20T00:00:00Z"], "as_of: is after now"),
        (["--bar", "1 hour"], "bar: must be a number and s, m, h or d"),
        (["--previous", "missing.json"], "missing.json"),
    ],
)
def test_option_that_cannot_be_meant_is_an_error(desk: Desk, more: list[str], said: str) -> None:
    code, out, err = desk.run("evaluate", *more)

    assert (code, out) == (4, "")
    assert said in err


def test_faulty_policy_ends_with_3_and_stores_nothing(desk: Desk) -> None:
    desk.policy.write_text(POLICY.replace("sharpe_30d >= 0.5", "sharpe_30d >="), encoding="utf-8")

    code, out, err = desk.run("evaluate", "--save-state", str(desk.state))

    assert (code, out) == (3, "")
    assert err.startswith(f"{desk.policy}:6:")
    assert not desk.state.exists()


def test_sample_policy_of_the_specification_evaluates_the_example(capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["evaluate", "--json", "--policy", str(SAMPLE), "--returns", str(EXAMPLE)])

    decision = json.loads(capsys.readouterr().out)
    assert code == 0
    assert decision["world_id"] == "crypto_mom_1h"
    assert decision["counts"] == {
        "bound": 40,
        "fresh": 40,
        "eligible": 0,
        "failed": 40,
        "unknown": 0,
        "held": 0,
        "active": 0,
    }


def test_equity_policy_selects_from_the_example(capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["evaluate", "--json", "--policy", str(EQUITIES), "--returns", str(EXAMPLE)])

    assert code == 0
    assert json.loads(capsys.readouterr().out)["topk"][:2] == ["sma-5-20.GOOG|long", "sma-20-50.GOOG|long"]


@pytest.mark.slow
def test_script_that_the_specification_names_is_the_same_command(desk: Desk) -> None:
    arguments = ["evaluate", "--json", "--policy", str(desk.policy), "--returns", str(desk.returns)]

    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "world_eval.py"), *arguments],
        cwd=desk.folder,
        env={"QW_NO_BOOTSTRAP": "1"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stdout, done.stderr) == desk.run("evaluate", "--json")
