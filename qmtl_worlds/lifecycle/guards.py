"""The questions that the apply table asks; where a fact is missing the answer stops the run."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from qmtl_worlds.contracts.lease import drain_seconds
from qmtl_worlds.lifecycle.holds import barred, increases_stopped_by, own_hold
from qmtl_worlds.lifecycle.plan import gaining, is_reduction
from qmtl_worlds.lifecycle.run import RunView, StepFacts, Timings, target_content


@dataclass(frozen=True, slots=True)
class Moment:
    """One event at one run: everything that guards and actions may look at."""

    run: RunView
    facts: StepFacts
    timings: Timings
    now: datetime


def approved(moment: Moment) -> bool:
    """Tell whether enough approvals stand, or none are needed."""
    return moment.facts.approved


def unapproved(moment: Moment) -> bool:
    """Tell whether approvals are missing, expired or stale."""
    return not approved(moment)


def base_current(moment: Moment) -> bool:
    """Tell whether the world's set is the plan's base, or was only reduced since."""
    return is_reduction(moment.run.plan.before, moment.facts.current)


def base_moved(moment: Moment) -> bool:
    """Tell whether something was added in between."""
    return not base_current(moment)


def policy_current(moment: Moment) -> bool:
    """Tell whether the policy in force is the one that the plan was made under."""
    return moment.facts.policy_checksum == moment.run.plan.policy_checksum


def policy_changed(moment: Moment) -> bool:
    """Tell whether another policy is in force by now."""
    return not policy_current(moment)


def gains_fresh(moment: Moment) -> bool:
    """Tell whether all that gains weight is fresh, passes its gates and is not barred."""
    facts = moment.facts
    gains = gaining(facts.current, target_content(moment.run, facts.current))
    return gains <= facts.admissible and not gains & barred(facts.holds)


def gains_stale(moment: Moment) -> bool:
    """Tell whether something that gains weight may not."""
    return not gains_fresh(moment)


def unblocked(moment: Moment) -> bool:
    """Tell whether nothing in the world forbids increases."""
    return increases_stopped_by(moment.facts.holds) is None


def blocked(moment: Moment) -> bool:
    """Tell whether a kill, circuit, freeze or the like forbids increases."""
    return not unblocked(moment)


def set_valid(moment: Moment) -> bool:
    """Tell whether the set to switch to satisfies the budgets (I17)."""
    return moment.facts.set_valid


def set_invalid(moment: Moment) -> bool:
    """Tell whether the set to switch to breaks a budget."""
    return not set_valid(moment)


def hold_present(moment: Moment) -> bool:
    """Tell whether the run's own hold keeps the gate closed."""
    return own_hold(moment.run.run_id) in moment.facts.holds


def hold_missing(moment: Moment) -> bool:
    """Tell whether the run's own hold has gone, which nobody may do."""
    return not hold_present(moment)


def drained(moment: Moment) -> bool:
    """Tell whether every permission from before the freeze has died (B11: never a moment earlier)."""
    return moment.run.drain_until is not None and moment.now >= moment.run.drain_until


def watched(moment: Moment) -> bool:
    """Tell whether this process has counted the lease by itself: the database's clock may have jumped (I28).

    Where nothing was ever permitted there is nothing to wait for.
    """
    timings = moment.timings
    lease = drain_seconds(lease_seconds=timings.lease_seconds, slack_seconds=0.0)
    return moment.facts.closed_since is not None or moment.facts.watched_seconds >= lease


def overdue(moment: Moment) -> bool:
    """Tell whether the run took too long, or too many of its workers died; a run without deadline is overdue."""
    deadline = moment.run.deadline_at
    return deadline is None or moment.now > deadline or moment.run.attempts > moment.timings.max_attempts


def worker_died(moment: Moment) -> bool:
    """Tell whether a worker's lease ended without being given back."""
    until = moment.run.worker_lease_until
    return until is not None and moment.now >= until


def unowned(moment: Moment) -> bool:
    """Tell whether no worker owns the run."""
    return moment.run.worker_lease_until is None


OF_THE_RUN: Final = (drained, overdue, worker_died, unowned)
"""The guards that look at the run and the time alone."""
