"""What people do to one strategy in one world; each calls one service."""

from __future__ import annotations

from typing import Final

from django.http import HttpRequest

from qmtl_worlds.contracts.ids import InstanceKey
from qmtl_worlds.lifecycle.holds import HoldKind
from strategies.models import StrategyInstance
from worlds.admin.acting import Button, Details, Done, Submission
from worlds.admin.closing_forms import AskForm, OverrideForm
from worlds.admin.kill_buttons import KILL_REASON, killed_words
from worlds.admin.opening_buttons import asked_or_done, is_set, lift_kill, reopen_gate
from worlds.admin.overrides import end_override
from worlds.admin.scoped import page_address
from worlds.admin.words import share
from worlds.models import GateHold, Reopening
from worlds.selectors import find_override, get_world, members_of
from worlds.services.binding import unbind
from worlds.services.kills import allow_flattening, closed_kills, is_killed, kill
from worlds.services.overrides import set_override
from worlds.services.reopening_requests import Asked, request_reopening


def _kill(sent: Submission) -> Done:
    killed = kill(world_id=sent.target.world_id, scope=sent.target.key.text, act=sent.act)
    return Done(killed_words(killed), page_address(sent.target))


def _flatten(sent: Submission) -> Done:
    allow_flattening(world_id=sent.target.world_id, scope=sent.target.key.text, act=sent.act)
    return Done("Its orders that reduce risk pass. The kill stays.", page_address(sent.target))


def _lift(sent: Submission) -> Done:
    return lift_kill(sent, world_id=sent.target.world_id, scope=sent.target.key.text)


def _override(sent: Submission) -> Done:
    form = sent.form
    if not isinstance(form, OverrideForm):
        raise TypeError("the button's form is another one")
    request = form.wanted(sent.target.key)
    overridden = set_override(world_id=sent.target.world_id, request=request, act=sent.act)
    if overridden.waits is not None:
        return Done("That gives something back, so another person must grant it.", page_address(overridden.waits))
    return Done("It lies over the instance at once; no apply undoes it.", page_address(sent.target))


def _end(sent: Submission) -> Done:
    return end_override(sent, world_id=sent.target.world_id, key=sent.target.key)


def _waive(sent: Submission) -> Done:
    asked = Asked(sent.target.world_id, Reopening.Subject.AWAITING_FLAT, sent.target.key.text)
    return asked_or_done(request_reopening(asked=asked, act=sent.act), "Waived.", page_address(sent.target))


def _reopen_gate(sent: Submission) -> Done:
    return reopen_gate(sent, world_id=sent.target.world_id, key=sent.target.key)


def _unbind(sent: Submission) -> Done:
    key: InstanceKey = sent.target.key
    unbind(world_id=sent.target.world_id, strategy_id=key.strategy_id, side=key.side, act=sent.act)
    return Done(f"Withdrawn: of {key.text} only exits pass.", page_address(sent.target))


def _is_bound(instance: StrategyInstance) -> bool:
    return instance.withdrawn_at is None


def _waits_flat(instance: StrategyInstance) -> bool:
    holds = GateHold.objects.filter(world_id=instance.world_id, scope=instance.key.text)
    return _is_bound(instance) and holds.filter(kind=HoldKind.AWAITING_FLAT.value).exists()


def _override_details(_request: HttpRequest, instance: StrategyInstance) -> Details:
    world = get_world(instance.world_id)
    member = members_of(world.id, world.generation).get(instance.key)
    context = {
        "applied": share(member.weight) if member else "",
        "present": find_override(world.id, instance.key.text),
    }
    return Details("admin/worlds/override.html", context)


INSTANCE_BUTTONS: Final = (
    Button(
        name="kill",
        label="Kill",
        permission="gate.close",
        afterwards=lambda instance: (
            f"Everything but {instance}: every order of it is stopped, EXITS TOO, from the end of the present lease at"
            " the latest, and it leaves the active set. To allow exits while the kill stands: Let"
            " exits through, by the role risk."
        ),
        perform=_kill,
        tone="kill",
        shown=_is_bound,
        reason=KILL_REASON,
    ),
    Button(
        name="override",
        label="Override",
        permission="gate.close",
        afterwards=lambda instance: (
            f"Everything else, and {instance} as chosen here, at once, from the end of the present lease at the latest."
            " It comes back at the time given only if the newest evaluation selects it then; else it stays closed and"
            " somebody is told."
        ),
        perform=_override,
        form=OverrideForm,
        tone="danger",
        shown=_is_bound,
        details=_override_details,
    ),
    Button(
        name="unbind",
        label="Unbind",
        permission="strategy.unbind",
        afterwards=lambda instance: (
            f"Everything but {instance}. Of it only exits pass, at once, and the next step takes it out of the active"
            " set."
        ),
        perform=_unbind,
        tone="danger",
        shown=_is_bound,
    ),
    Button(
        name="let-exits-through",
        label="Let exits through",
        permission="gate.lift_kill",
        afterwards=lambda instance: f"Of {instance} only orders that reduce risk. The kill stays.",
        perform=_flatten,
        shown=lambda instance: closed_kills(world_id=instance.world_id, scope=instance.key.text),
    ),
    Button(
        name="lift-kill",
        label="Lift the kill",
        permission="gate.reopen",
        afterwards=lambda instance: (
            f"What trades now. {instance} may come in again by an apply, once somebody with the role risk has granted"
            " this and its cool-down is over."
        ),
        perform=_lift,
        form=AskForm,
        shown=lambda instance: is_killed(world_id=instance.world_id, scope=instance.key.text),
    ),
    Button(
        name="end-override",
        label="End the override",
        permission="override.request",
        afterwards=lambda instance: (
            f"What trades now, until a second person grants this; then {instance} at the weight that the active set"
            " gives it."
        ),
        perform=_end,
        shown=lambda instance: find_override(instance.world_id, instance.key.text) is not None,
    ),
    Button(
        name="waive-flat",
        label="Ask to waive the wait",
        permission="override.request",
        afterwards=lambda instance: (
            f"What trades now, until a second person grants this; then {instance} at its weight, though no Runner has"
            " confirmed that its position is flat."
        ),
        perform=_waive,
        shown=_waits_flat,
    ),
    Button(
        name="reopen-gate",
        label="Open it again",
        permission="gate.reopen",
        afterwards=lambda instance: f"{instance} by the active set, as far as no other hold stands.",
        perform=_reopen_gate,
        shown=lambda instance: _is_bound(instance) and is_set(instance.world_id, instance.key.text),
    ),
)
