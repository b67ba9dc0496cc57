"""Policy versions: store a draft, ask for it, let a second person put it in force."""

from __future__ import annotations

from datetime import datetime

from django.db import transaction

from audit.recorder import record
from qmtl_worlds.contracts.acts import Act
from qmtl_worlds.contracts.errors import (
    AlreadyExistsError,
    InputInvalidError,
    PolicyInvalidError,
    PolicyNotFoundError,
    RunNotFoundError,
    RunStateError,
    SelfApprovalError,
)
from qmtl_worlds.contracts.faults import Fault
from qmtl_worlds.lifecycle.approval import check_approver
from qmtl_worlds.lifecycle.calendar import calendar_names
from qmtl_worlds.policy.compiler import CompiledPolicy, compile_policy
from qmtl_worlds.policy.lint import lint
from strategies.models import Provenance, StrategyInstance
from strategies.services.currency import refresh_world_currency
from worlds.models import PolicyChange, PolicyVersion, World
from worlds.services.changes import announce, locked_world
from worlds.services.freshness import freshness_rule
from worlds.services.pins import remove_pin
from worlds.services.projection import project_after_commit


@transaction.atomic
def store_policy(*, world_id: str, text: str, act: Act) -> PolicyVersion:
    """Store a version as a draft; the version in force stays. The same text again is a no-op.

    Raises:
        PolicyInvalidError: the text has faults; all of them are listed, and nothing is stored.
        AlreadyExistsError: the version number is taken by another text.
    """
    act.require("policy.draft", world_id)
    compiled = compile_policy(text, world_id=world_id)
    world = locked_world(world_id)
    _check_fit(world, compiled)
    number = compiled.document.version
    stored = PolicyVersion.objects.filter(world=world, version=number).first()
    if stored is not None:
        if stored.checksum == compiled.checksum:
            return stored
        raise AlreadyExistsError("Policy version", str(number))
    policy = PolicyVersion.objects.create(
        world=world,
        version=number,
        text=text,
        canonical=compiled.canonical.decode(),
        checksum=compiled.checksum,
        selection_checksum=compiled.selection_checksum,
        lint=[
            {"code": warning.code, "path": warning.path, "line": warning.line, "message": warning.message}
            for warning in lint(compiled, sector_count=_sector_count(world))
        ],
        author=act.actor,
        author_person=act.person,
        created_at=act.now,
    )
    record(
        chain=world.id,
        kind="policy.stored",
        act=act,
        subject=f"v{number}",
        after={"checksum": policy.checksum},
        policy_version=number,
    )
    _put_first_in_force(world, policy, act)
    return policy


@transaction.atomic
def request_policy(*, world_id: str, version: int, act: Act) -> PolicyChange:
    """Ask for a version to be put in force; an older open request is superseded. Twice is once.

    Raises:
        PolicyNotFoundError: no such version.
    """
    act.require("policy.request", world_id)
    world = locked_world(world_id)
    policy = _version(world, version)
    older = (
        PolicyChange.objects.select_related("policy").filter(world=world, state=PolicyChange.State.REQUESTED).first()
    )
    if older is not None and (older.policy, older.requested_by) == (policy, act.actor):
        return older
    if older is not None:
        _supersede(older, act)
    change = PolicyChange.objects.create(
        world=world,
        policy=policy,
        requested_by=act.actor,
        requester_person=act.person,
        reason=act.reason,
        requested_at=act.now,
    )
    record(chain=world.id, kind="policy.activation_requested", act=act, subject=f"v{version}", policy_version=version)
    return change


@transaction.atomic
def approve_policy(
    *, change_id: int, reauthenticated_at: datetime | None, act: Act, world_id: str | None = None
) -> PolicyChange:
    """Put the requested version in force, as a different person than its author and its requester.

    ``reauthenticated_at`` is when that person last entered the password; ``world_id`` says of which world the request
    must be, None of any.

    Raises:
        SelfApprovalError: the same person, or a machine.
        ApprovalNeedsSessionError: the password was not entered recently.
        RunStateError: the request was decided before.
    """
    change, world = _open_change(change_id, world_id, act)
    if not act.person:
        raise SelfApprovalError(act.actor)
    others = [person for person in (change.requester_person, change.policy.author_person) if person]
    check_approver(act.person, others=others, reauthenticated_at=reauthenticated_at, now=act.now)
    _decide(change, PolicyChange.State.IN_FORCE, act)
    put_in_force(world=world, policy=change.policy, act=act)
    return change


@transaction.atomic
def reject_policy(*, change_id: int, act: Act, world_id: str | None = None) -> PolicyChange:
    """Refuse the request; the version in force stays. ``world_id`` says of which world it must be, None of any.

    Raises:
        RunStateError: the request was decided before.
    """
    change, world = _open_change(change_id, world_id, act)
    _decide(change, PolicyChange.State.REJECTED, act)
    record(
        chain=world.id,
        kind="policy.activation_rejected",
        act=act,
        subject=f"v{change.policy.version}",
        policy_version=change.policy.version,
    )
    return change


def put_in_force(*, world: World, policy: PolicyVersion, act: Act) -> None:
    """Make ``policy`` the one that decides; the caller holds the world's lock and has checked the right to."""
    before = world.policy.version if world.policy else None
    world.policy = policy
    world.save(update_fields=["policy"])
    remove_pin(world=world, cause="policy", act=act)
    refresh_world_currency(world_id=world.id, rule=freshness_rule(world))
    project_after_commit(world_id=world.id)
    announce(
        world,
        kind="policy_updated",
        payload={"policy_version": policy.version, "checksum": policy.checksum},
        now=act.now,
    )
    record(
        chain=world.id,
        kind="policy.activated",
        act=act,
        subject=f"v{policy.version}",
        before={"version": before},
        after={"version": policy.version, "checksum": policy.checksum},
        policy_version=policy.version,
    )


def _check_fit(world: World, policy: CompiledPolicy) -> None:
    """Refuse what no text shows: a live world counts no backtests (SEMANTICS 2.1), and the calendar must be there."""
    metrics, faults = policy.document.metrics, []
    if metrics.calendar not in calendar_names():
        message = f"there is no calendar {metrics.calendar}; there are {', '.join(calendar_names())}"
        faults.append(Fault(policy.line_of("metrics.calendar"), 1, "metrics.calendar", "unknown-calendar", message))
    if world.mode == World.Mode.LIVE and Provenance.BACKTEST in metrics.provenance:
        message = "a live world cannot count backtest returns"
        faults.append(Fault(policy.line_of("metrics.provenance"), 1, "metrics.provenance", "live_backtest", message))
    if faults:
        raise PolicyInvalidError(faults)


def _sector_count(world: World) -> int | None:
    """Return how many sectors the bound instances have, None where no sector is known."""
    bound = StrategyInstance.objects.filter(world=world, withdrawn_at=None).exclude(sector="")
    return bound.order_by().values("sector").distinct().count() or None


def _put_first_in_force(world: World, policy: PolicyVersion, act: Act) -> None:
    """QMTL's clients know no approval of policies: their worlds take the first version at once."""
    if world.compat == "qmtl" and world.policy is None:
        put_in_force(world=world, policy=policy, act=act)


def _version(world: World, version: int) -> PolicyVersion:
    if version < 1:
        raise InputInvalidError(field="version", reason="must be a positive integer")
    policy = PolicyVersion.objects.filter(world=world, version=version).first()
    if policy is None:
        raise PolicyNotFoundError(world.id, version)
    return policy


def _open_change(change_id: int, world_id: str | None, act: Act) -> tuple[PolicyChange, World]:
    """Return a request that waits, with its world locked; who may not decide it learns nothing of it."""
    if world_id is not None:
        act.require("policy.approve", world_id)
    change = PolicyChange.objects.select_related("policy").filter(id=change_id).first()
    if change is None or world_id not in {None, change.world_id}:
        raise RunNotFoundError(world_id or "", str(change_id))
    act.require("policy.approve", change.world_id)
    world = locked_world(change.world_id)
    change.refresh_from_db(fields=["state"])
    if change.state != PolicyChange.State.REQUESTED:
        raise RunStateError(str(change_id), state=change.state, wanted="decided")
    return change, world


def _supersede(change: PolicyChange, act: Act) -> None:
    change.state, change.decided_at = PolicyChange.State.SUPERSEDED, act.now
    change.save(update_fields=["state", "decided_at"])
    record(
        chain=change.world_id,
        kind="policy.activation_cancelled",
        act=act,
        subject=f"v{change.policy.version}",
        policy_version=change.policy.version,
    )


def _decide(change: PolicyChange, state: PolicyChange.State, act: Act) -> None:
    change.state = state
    change.decided_by = act.actor
    change.decider_person = act.person
    change.decided_at = act.now
    change.save(update_fields=["state", "decided_by", "decider_person", "decided_at"])
