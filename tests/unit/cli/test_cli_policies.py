from __future__ import annotations

import json
from pathlib import Path

import pytest

from qmtl_worlds.cli import main
from tests.unit.cli.files import EQUITIES, POLICY, SAMPLE, policy_file

FAULTY = POLICY.replace("sharpe_30d >= 0.5", "sharp_30d >= 0.5").replace("total: 2", "total: two")


def test_validate_of_good_policies_names_them_and_ends_with_0(capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["validate", str(SAMPLE), str(EQUITIES)])

    lines = capsys.readouterr().out.splitlines()
    assert code == 0
    assert [line.partition(", sha256:")[0] for line in lines] == [
        f"{SAMPLE}: good: world crypto_mom_1h, version 1",
        f"{EQUITIES}: good: world us_equity_rules, version 1",
    ]


def test_validate_lists_every_fault_of_every_file_with_line_and_column(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    faulty, empty = policy_file(tmp_path, FAULTY), policy_file(tmp_path, "{}", "empty.yml")

    code = main(["validate", str(faulty), str(SAMPLE), str(empty)])

    out = capsys.readouterr().out
    assert code == 3
    assert f"{faulty}:6:18: selection.gates.and[0]: " in out
    assert f"{faulty}:8:17: selection.topk.total: " in out
    assert f"{SAMPLE}: good" in out
    assert f"{empty}:1:1: " in out


def test_validate_of_a_missing_file_is_an_error_and_no_verdict(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(["validate", str(tmp_path / "none.yml")])

    assert code == 4
    assert "none.yml" in capsys.readouterr().err


def test_lint_prints_place_message_and_code_and_ends_with_0(capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["lint", str(SAMPLE)])

    lines = capsys.readouterr().out.splitlines()
    assert code == 0
    assert any(line.startswith(f"{SAMPLE}:31: ") and line.endswith("[inert-dwell]") for line in lines)


def test_lint_of_a_faulty_policy_lists_its_faults(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["lint", str(policy_file(tmp_path, FAULTY))])

    assert code == 3
    assert len(capsys.readouterr().err.splitlines()) == 2


def test_diff_shows_what_changes_in_meaning_only(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old = policy_file(tmp_path)
    new = policy_file(tmp_path, POLICY.replace(">= 0.5", "  >=  0.75").replace("total: 2", "total: 3"), "new.yml")

    code = main(["diff", str(old), str(new)])

    assert code == 0
    assert capsys.readouterr().out.splitlines() == [
        '~ selection.gates.and[0]: "sharpe_30d >= 0.5" -> "sharpe_30d >= 0.75"',
        "~ selection.topk.total: 2 -> 3",
    ]


def test_diff_of_equal_policies_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["diff", str(policy_file(tmp_path)), str(policy_file(tmp_path, f"# a note\n{POLICY}", "new.yml"))])

    assert code == 0
    assert capsys.readouterr().out == "The two mean the same.\n"


def test_diff_as_json_is_a_list_of_changes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    new = policy_file(tmp_path, POLICY.replace("total: 2", "total: 3"), "new.yml")

    main(["diff", "--json", str(policy_file(tmp_path)), str(new)])

    assert json.loads(capsys.readouterr().out) == [
        {"path": "selection.topk.total", "before": 2, "after": 3, "kind": "changed"}
    ]


@pytest.mark.parametrize("arguments", [[], ["evaluat"], ["evaluate"], ["diff", "one.yml"]])
def test_wrong_usage_is_an_error_and_never_inconclusive(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)

    assert ended.value.code == 4
    assert "usage:" in capsys.readouterr().err
