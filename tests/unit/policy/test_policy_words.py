from __future__ import annotations

import json
from pathlib import Path

import pytest

from qmtl_worlds.policy.compiler import compile_policy
from qmtl_worlds.policy.describe import describe
from qmtl_worlds.policy.field_names import field_names
from qmtl_worlds.policy.lint_warning import LINT_CODES
from qmtl_worlds.policy.schema import policy_schema
from tests.unit.policy.samples import MINIMAL, sample, with_gates

REFERENCE = Path(__file__).parents[3] / "docs" / "reference"
SECTIONS: tuple[tuple[str, ...], ...] = (
    (),
    ("data_currency",),
    ("metrics",),
    ("metrics", "windows"),
    ("selection",),
    ("selection", "topk"),
    ("selection", "constraints"),
    ("selection", "constraints", "correlation"),
    ("selection", "constraints", "exposure"),
    ("selection", "constraints", "exposure", "sector_cap"),
    ("selection", "hysteresis"),
    ("selection", "weights"),
    ("position_policy",),
    ("risk",),
    ("risk", "circuit"),
    ("risk", "ladder"),
    ("apply",),
    ("apply", "auto"),
    ("schedule",),
)


def test_sample_in_words_says_everything_that_decides() -> None:
    assert (
        describe(compile_policy(sample()))
        == """\
World crypto_mom_1h, policy version 1.
Data is fresh until a bar and 5m of open time after its end.
Under 60 sessions of history, metrics neither promote nor demote.
Metrics count sessions of 24/7: short 30, mid 90, long 365; rows of live, paper data count.
An instance is eligible if
  all of:
    sample_days >= 30
    trades_60d >= 40
    sharpe_mid >= 0.60
    max_dd_120d <= 0.25
Eligible instances are ranked by sharpe_mid + 0.1*winrate_long - 0.2*ulcer_mid.
A score under 0 is not eligible.
At most 8 are selected (greedy).
At most 5 long, 12 % of capital each, 60 % together.
At most 3 short, 13.33 % of capital each, 40 % together.
No two selected have a correlation above 0.8 over 120 sessions;\
 with fewer than 60 in common it is unknown, which conflicts.
Weight times leverage adds up to at most 3.
Without reported leverage: not eligible.
One sector takes at most 30 % of capital, long plus short; instances without a sector share one sector.
Promoted after 2 and demoted after 2 evaluations on new data.
Promoted or demoted, it stays so for at least 3h.
Weights: slot, at most long 24 %, short 26.67 %; shifts up to 2 % are left.
Evaluated by hand only.
More risk needs 1 approval within 1d; less risk needs none.
Positions: flat_then_enable on promotion, disable_then_flat on demotion.
No risk circuit."""
    )


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (with_gates("{or: [sharpe_mid > 1, {not: skew_mid < 0}]}"), "    none of:"),
        (MINIMAL + "  incumbent_bonus: 0.5\n", "Active instances rank as if their score were 0.5 higher."),
        (MINIMAL + "  max_changes_per_apply: 2\n", "At most 2 promotions in one apply; the rest waits."),
        (MINIMAL + "schedule: {every: 1h, offset: 5m}\n", "Evaluated every 1h, offset 5m."),
        (MINIMAL + "schedule: {at: bar_close}\n", "Evaluated 0s after each close."),
        (
            MINIMAL + "apply: {mode: auto, approvals: 2}\n",
            "More risk is applied without asking up to 3 changes and 10 % of capital;"
            " beyond, it needs 2 approvals within 1d.",
        ),
        (
            MINIMAL + "risk: {circuit: {max_drawdown: 0.15, var_95: 0.03}}\n",
            "The world halts above max_drawdown 0.15, var_95 0.03, on 2 samples; it warns from 80 % of a limit on.",
        ),
        (MINIMAL + "risk: {circuit: {confirm_samples: 3}}\n", "No risk circuit."),
    ],
)
def test_rule_of_a_policy_is_said_in_words(text: str, line: str) -> None:
    assert line in describe(compile_policy(text)).splitlines()


def test_schema_equals_its_published_form() -> None:
    published = json.loads((REFERENCE / "policy.schema.json").read_text(encoding="utf-8"))

    assert policy_schema() == published


@pytest.mark.parametrize("section", SECTIONS, ids=".".join)
def test_every_key_of_a_policy_is_in_the_reference(section: tuple[str, ...]) -> None:
    reference = (REFERENCE / "policy.md").read_text(encoding="utf-8")

    names = field_names(section)

    assert names
    assert [name for name in names if f"`{'.'.join([*section, name])}`" not in reference] == []


def test_every_lint_code_is_in_the_reference_with_its_meaning() -> None:
    reference = (REFERENCE / "lint.md").read_text(encoding="utf-8")

    rows = [f"| `{code}` | {meaning} |" for code, meaning in LINT_CODES.items()]

    assert [row for row in rows if row not in reference] == []
