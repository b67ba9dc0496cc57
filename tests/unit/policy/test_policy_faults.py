from __future__ import annotations

from collections.abc import Sequence

import pytest

from qmtl_worlds.contracts.errors import PolicyInvalidError
from qmtl_worlds.contracts.faults import Fault
from qmtl_worlds.policy.compiler import compile_mapping, compile_policy
from tests.unit.policy.samples import MINIMAL, sample, with_gates, with_score


def faults_of(text: str | bytes, world_id: str | None = None) -> Sequence[Fault]:
    with pytest.raises(PolicyInvalidError) as caught:
        compile_policy(text, world_id=world_id)
    return caught.value.faults


def only_fault(text: str | bytes, world_id: str | None = None) -> tuple[int, int, str, str]:
    (fault,) = faults_of(text, world_id)
    return fault.line, fault.column, fault.path, fault.code


def test_all_faults_of_a_text_come_together_with_line_column_path_and_code() -> None:
    text = """\
world: Crypto
verzion: 1
data_currency:
  max_lag: 5 minutes
  max_lag: 6m
  min_history: .nan
  bar: &a 1d
selection:
  gates:
    and:
      - sharp_mid >= 0.6 and winrat_long > ulcer_60d
      - "sharpe_mid >= "
      - not: sharpe > 3
      - 5
      - nor: [a]
  score: >
    sharpe_mid +
      zz_mid +
    (sharpe_mid > 1)
  topk: {total: 8, by_side: {long: 5, shrt: 3}}
  constraints:
    exposure: {gross_budget: {short: *a}}
    correlation: {max_pairwise: 1.5, window: 10d}
  hysteresis: {promote_after: 0}
apply: {mode: manual}
schedule: {every: 1h, at: bar_close}
"""

    faults = faults_of(text, world_id="crypto")

    assert [(fault.line, fault.column, fault.path, fault.code) for fault in faults] == [
        (1, 1, "version", "missing"),
        (1, 8, "world", "bad-format"),
        (1, 8, "world", "world-mismatch"),
        (2, 1, "verzion", "unknown-key"),
        (4, 12, "data_currency.max_lag", "bad-duration"),
        (5, 3, "data_currency.max_lag", "duplicate-key"),
        (6, 16, "data_currency.min_history", "bad-number"),
        (7, 8, "data_currency.bar", "anchor"),
        (11, 9, "selection.gates.and[0]", "unknown-metric"),
        (11, 30, "selection.gates.and[0]", "unknown-metric"),
        (12, 23, "selection.gates.and[1]", "syntax"),
        (13, 14, "selection.gates.and[2].not[0]", "unknown-metric"),
        (14, 9, "selection.gates.and[3]", "wrong-type"),
        (15, 9, "selection.gates.and[4]", "wrong-type"),
        (19, 5, "selection.score", "wrong-type"),
        (20, 39, "selection.topk.by_side.shrt", "unknown-key"),
        (22, 38, "selection.constraints.exposure.gross_budget.short", "alias"),
        (23, 33, "selection.constraints.correlation.max_pairwise", "out-of-range"),
        (24, 31, "selection.hysteresis.promote_after", "out-of-range"),
        (25, 15, "apply.mode", "not-one-of"),
        (26, 23, "schedule.at", "unknown-key"),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (MINIMAL.replace("max_lag", "max_lagg"), "there is no key 'max_lagg' here; did you mean 'max_lag'?"),
        (with_score("sharp_mid"), "'sharp_mid' is no metric; did you mean 'sharpe_mid'?"),
        (with_score("max_d_45d"), "'max_d_45d' is no metric; did you mean 'max_dd_45d'?"),
        (with_score("sharpe"), "sharpe needs a window: sharpe_mid or sharpe_60d"),
        (with_score("qqqqqqqq"), "'qqqqqqqq' is no metric"),
        (MINIMAL + "  solver: magic\n", "must be 'greedy' or 'exact'"),
        (
            MINIMAL.replace("total: 2", "total: 2, by_side: {sort: 1}"),
            "there is no key 'sort' here; did you mean 'short'?",
        ),
    ],
)
def test_fault_says_what_was_probably_meant(text: str, message: str) -> None:
    assert message in [fault.message for fault in faults_of(text)]


def test_duplicate_key_names_both_lines() -> None:
    (fault,) = faults_of(MINIMAL + "version: 2\n")

    assert (fault.line, fault.code, fault.message) == (
        11,
        "duplicate-key",
        "'version' stands twice, first on line 2",
    )


@pytest.mark.parametrize(
    ("text", "place"),
    [
        (with_score('"sharpe_mid + zz"'), (6, 24)),
        (with_score("'sharpe_mid + zz'"), (6, 24)),
        (with_score("sharpe_mid + zz"), (6, 23)),
        (with_score("|\n    sharpe_mid\n    + zz"), (8, 7)),
        (with_score("sharpe_mid\n    + zz"), (7, 7)),
        (with_score('"sharpe_mid +\n    zz"'), (7, 5)),
    ],
)
def test_fault_of_an_expression_stands_at_its_character_in_the_text(text: str, place: tuple[int, int]) -> None:
    line, column, path, code = only_fault(text)

    assert ((line, column), path, code) == (place, "selection.score", "unknown-metric")


def test_fault_of_an_expression_in_windows_line_endings_stands_on_its_line() -> None:
    assert only_fault(with_score("sharpe_mid + zz").replace("\n", "\r\n")) == (
        6,
        23,
        "selection.score",
        "unknown-metric",
    )


@pytest.mark.parametrize("key", ["world", "version", "data_currency", "selection"])
def test_required_key_that_is_missing_is_a_fault(key: str) -> None:
    lines = MINIMAL.replace("\n  ", "\n\t").splitlines()
    kept = [line.replace("\t", "  ") for line in _without(lines, key)]

    assert (1, 1, key, "missing") in [(f.line, f.column, f.path, f.code) for f in faults_of("\n".join(kept) + "\n")]


def _without(lines: list[str], key: str) -> list[str]:
    kept, dropping = [], False
    for line in lines:
        if not line.startswith(("\t", " ")):
            dropping = line.startswith(f"{key}:")
        if not dropping:
            kept.append(line)
    return kept


def test_used_side_without_a_budget_is_a_fault_even_beside_a_bad_gate() -> None:
    text = with_gates("sharp_mid > 1").replace("total: 2", "total: 2, by_side: {long: 1, short: 1}")

    assert [(f.line, f.path, f.code) for f in faults_of(text)] == [
        (5, "selection.gates", "unknown-metric"),
        (10, "selection.constraints.exposure.gross_budget.short", "missing"),
    ]


def test_policy_without_slots_needs_no_budget() -> None:
    text = MINIMAL.replace("total: 2", "total: 0").replace("{long: 0.5}", "{}")

    assert compile_policy(text).document.selection.topk.total == 0


def test_world_of_another_name_is_a_fault() -> None:
    assert only_fault(MINIMAL, world_id="v") == (1, 8, "world", "world-mismatch")


@pytest.mark.parametrize(
    ("addition", "path", "code"),
    [
        ("metrics: {windows: {short: 90d, mid: 30d}}", "metrics.windows", "contradiction"),
        ("metrics: {windows: {short: 0d}}", "metrics.windows", "contradiction"),
        ("metrics: {provenance: []}", "metrics.provenance", "too-few"),
        ("metrics: {provenance: [paper, mars]}", "metrics.provenance[1]", "not-one-of"),
        ("metrics: {calendar: nyse}", "metrics.calendar", "bad-format"),
        ("metrics: {min_obs: 1}", "metrics.min_obs", "out-of-range"),
        ("metrics: {min_obs: 20.5}", "metrics.min_obs", "wrong-type"),
        ("metrics: {min_obs: true}", "metrics.min_obs", "wrong-type"),
        ("metrics: {min_obs: '20'}", "metrics.min_obs", "wrong-type"),
        ("metrics: {rf: 1e999}", "metrics.rf", "bad-number"),
        ("metrics: 5", "metrics", "wrong-type"),
        ("metrics:", "metrics", "wrong-type"),
        ("apply: {approvals: 0}", "apply.approvals", "out-of-range"),
        ("apply: {expiry: 24}", "apply.expiry", "bad-duration"),
        ("apply: {expiry: 999999999d}", "apply.expiry", "out-of-range"),
        ("schedule: {}", "schedule.at", "missing"),
        ("schedule: {every: 30s}", "schedule", "contradiction"),
        ("schedule: {every: 1h, offset: 1h}", "schedule", "contradiction"),
        ("risk: {ladder: [{drawdown: 0.1, scale: 0.5}, {drawdown: 0.1, scale: 0}]}", "risk.ladder", "contradiction"),
        ("risk: {circuit: {max_drawdown: 15}}", "risk.circuit.max_drawdown", "out-of-range"),
        ("position_policy: {on_promote: flat}", "position_policy.on_promote", "not-one-of"),
        ("'odd key': 1", "['odd key']", "unknown-key"),
        ("12: 1", "", "bad-key"),
        ("? [a]\n: 1", "", "bad-key"),
        ("<<: {a: 1}", "", "merge-key"),
        ("tests: !!str x", "", "tag"),
    ],
)
def test_bad_value_is_a_fault_with_its_path_and_code(addition: str, path: str, code: str) -> None:
    found = [(fault.path, fault.code) for fault in faults_of(MINIMAL + addition + "\n")]

    assert found[0] == (path, code) or (code == "tag" and found == [("tests", "tag"), ("tests", "wrong-type")])


def test_correlation_window_that_never_holds_its_overlap_is_a_fault() -> None:
    text = MINIMAL.replace("    exposure:", "    correlation: {max_pairwise: 0.8, window: 20d}\n    exposure:")

    assert only_fault(text)[2:] == ("selection.constraints.correlation", "contradiction")


@pytest.mark.parametrize("empty", ["", "\n\n", "# nothing\n", "---\n", "~\n"])
def test_empty_text_is_a_fault(empty: str) -> None:
    assert faults_of(empty)[0].message == "the policy is empty"


@pytest.mark.parametrize("text", ["5", "text", "[a]", "- a"])
def test_text_that_is_no_mapping_is_a_fault(text: str) -> None:
    assert only_fault(text) == (1, 1, "", "wrong-type")


def test_first_hundred_faults_are_spelled_out_and_the_rest_is_counted() -> None:
    text = MINIMAL + "".join(f"key{number}: 1\n" for number in range(150))

    faults = faults_of(text)

    assert len(faults) == 101
    assert (faults[-1].code, faults[-1].message) == ("too-many-faults", "there are 50 more faults")


def test_faults_of_a_mapping_stand_at_line_one_with_their_paths() -> None:
    with pytest.raises(PolicyInvalidError) as caught:
        compile_mapping({"world": 1, "selection": {"gates": []}}, world_id="w")

    assert [(f.line, f.column, f.path, f.code) for f in caught.value.faults] == [
        (1, 1, "data_currency", "missing"),
        (1, 1, "selection.gates", "wrong-type"),
        (1, 1, "selection.score", "missing"),
        (1, 1, "selection.topk", "missing"),
        (1, 1, "version", "missing"),
        (1, 1, "world", "wrong-type"),
    ]


def test_sample_with_one_fault_says_first_where_it_is() -> None:
    with pytest.raises(PolicyInvalidError) as caught:
        compile_policy(sample().replace("sharpe_mid >= 0.60", "sharp_mid >= 0.60"))

    assert caught.value.detail == (
        "The policy has 1 fault; the version in force stays. First: 15:9: selection.gates.and[2]: "
        "'sharp_mid' is no metric; did you mean 'sharpe_mid'? [unknown-metric]"
    )
