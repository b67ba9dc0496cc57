"""One warning about a policy, and the codes that warnings have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

LINT_CODES: Final = {
    "short-window": "a ratio, moment or tail metric over fewer than 30 sessions is mostly noise",
    "short-history": "`min_history` is shorter than the longest window in use, which is then only part-filled",
    "fraction-bounds": "a share such as `max_dd` or `winrate` is compared with a number outside 0 to 1, as in percent",
    "constant-condition": "a condition reads no metric, so it is the same for every instance",
    "constant-score": "the score reads no metric, so ids decide",
    "lag-under-bar": "`max_lag` is shorter than a bar under `wall_clock`: data goes stale over any closure",
    "no-slots": "no slot at all: everything active will be demoted",
    "side-sum": "the slots of `by_side` do not add up to `total`",
    "leverage-under-gross": "full budgets exceed the leverage cap even at leverage 1, so some slots stay empty",
    "weight-under-slot": "`max_weight` is below the weight of a slot, so part of each slot stays cash",
    "sector-under-slot": "one slot alone is over the sector cap, so nothing of that side can be selected",
    "sector-undeployable": "the sector cap times the number of sectors is under the gross budget: the rest stays cash",
    "inert-dwell": "`min_dwell` is over before `promote_after` and `demote_after` have counted, so it never decides",
    "tests-not-run": "the `tests` of a policy are stored but not run by this version",
    "ladder-not-enforced": "the `risk.ladder` of a policy is stored but not enforced by this version",
}
"""Stable codes and what they mean; the reference page is made of them."""


@dataclass(frozen=True, slots=True)
class LintWarning:
    """A warning: ``code`` is one of ``LINT_CODES``, ``line`` is 1-based, 1 where the policy had no text."""

    code: str
    path: str
    line: int
    message: str
