"""What people do to a world; each calls one service."""

from __future__ import annotations

import re
from typing import Any, Final

from django.http import HttpRequest

from qmtl_worlds.contracts.errors import WorldsError
from qmtl_worlds.lifecycle.holds import HOLD_RULES, HoldKind
from worlds.admin.access import act_of
from worlds.admin.acting import Button, Details, Done, Submission
from worlds.admin.forms import PolicyForm, RollbackForm, RunForm, WorldForm
from worlds.admin.plan_view import content_rows
from worlds.admin.scoped import page_address, world_address
from worlds.admin.words import GATE_REASONS
from worlds.models import ActivationSet, GateHold, World
from worlds.services.evaluations import EvaluationRequest, request_evaluation
from worlds.services.holds import freeze, pause, resume, unfreeze
from worlds.services.policies import store_policy
from worlds.services.registry import NewWorld, archive_world, create_world
from worlds.services.rollback import RollbackRequest, preview_rollback, request_rollback
from worlds.services.run_rows import hold_of

SETS_OFFERED: Final = 50
_NUMBER = re.compile(r"[0-9]{1,18}", re.ASCII)


def _evaluate(sent: Submission) -> Done:
    request = EvaluationRequest(sent.values["run_id"])
    run = request_evaluation(world_id=sent.target.id, request=request, act=sent.act)
    return Done("The evaluation has started.", page_address(run))


def _freeze(sent: Submission) -> Done:
    freeze(world_id=sent.target.id, act=sent.act)
    return Done("Frozen: only orders that reduce risk pass. The active set is kept.", world_address(sent.target.id))


def _unfreeze(sent: Submission) -> Done:
    unfreeze(world_id=sent.target.id, act=sent.act)
    return Done("The operators' freeze is lifted.", world_address(sent.target.id))


def _pause(sent: Submission) -> Done:
    pause(world_id=sent.target.id, act=sent.act)
    return Done("Paused: no increase starts by itself. What is active goes on.", world_address(sent.target.id))


def _resume(sent: Submission) -> Done:
    resume(world_id=sent.target.id, act=sent.act)
    return Done("Resumed: the schedule may ask for increases again.", world_address(sent.target.id))


def _archive(sent: Submission) -> Done:
    archive_world(world_id=sent.target.id, act=sent.act)
    return Done("Archived. Its audit stays.", world_address(sent.target.id))


def _upload(sent: Submission) -> Done:
    policy = store_policy(world_id=sent.target.id, text=sent.values["text"], act=sent.act)
    return Done(f"Version {policy.version} is stored as a draft.", page_address(policy))


def _rollback(sent: Submission) -> Done:
    request = RollbackRequest(sent.values["run_id"], sent.values["to_generation"])
    run = request_rollback(world_id=sent.target.id, request=request, act=sent.act).run
    return Done(f"The way back to generation {request.to_generation} has started.", page_address(run))


def _create(sent: Submission) -> Done:
    names = ("id", "name", "owner", "description", "mode")
    world = create_world(new=NewWorld(**{name: sent.values[name] for name in names}), act=sent.act)
    return Done("The world is made. Nothing can trade in it yet.", world_address(world.id))


def _rollback_details(request: HttpRequest, world: World) -> Details:
    """Show the past sets to choose from, then what going back to the chosen one would lead to now."""
    past = ActivationSet.objects.filter(world=world, generation__lt=world.generation).select_related("run")
    context: dict[str, Any] = {"past": list(past[:SETS_OFFERED]), "world": world, "chosen": None}
    wanted = request.GET.get("to", "")
    if not (_NUMBER.fullmatch(wanted) and int(wanted) < world.generation):
        return Details("admin/worlds/rollback.html", context, ready=False)
    try:
        found = preview_rollback(world_id=world.id, to_generation=int(wanted), act=act_of(request, reason="preview"))
    except WorldsError as error:
        return Details("admin/worlds/rollback.html", {**context, "refused": error.detail}, ready=False)
    context |= {
        "chosen": int(wanted),
        "rows": content_rows(world, found.content, scaled=frozenset(found.scaled)),
        "left_out": [(key.text, why) for key, why in found.left_out],
    }
    return Details("admin/worlds/rollback.html", context)


def _is_frozen(world: World) -> bool:
    return GateHold.objects.filter(world=world, kind=HoldKind.FREEZE.value, owner="operator", scope="").exists()


def _lives(world: World) -> bool:
    return world.state != World.State.DELETED


def _after_unfreeze(world: World) -> str:
    others = [hold_of(row) for row in GateHold.objects.filter(world=world, scope="").exclude(kind=HoldKind.FREEZE)]
    if not others:
        return "The active set trades again, as it was before the freeze."
    reasons = ", ".join(sorted({GATE_REASONS[HOLD_RULES[hold.kind].reason] for hold in others}))
    return f"The gate stays held all the same: {reasons}."


BUTTONS = (
    Button(
        name="evaluate",
        label="Evaluate now",
        permission="evaluation.run",
        afterwards=lambda _world: "Trading goes on as it is. The decision is recorded; you can then ask to apply it.",
        perform=_evaluate,
        form=RunForm,
        reason="Evaluated by hand",
        tone="primary",
        shown=lambda world: _lives(world) and world.policy_id is not None,
    ),
    Button(
        name="freeze",
        label="Freeze",
        permission="gate.close",
        afterwards=lambda _world: (
            "Only orders that reduce risk pass, from the end of the present lease at the latest. The active set is"
            " kept, and comes back as it was when the freeze is lifted."
        ),
        perform=_freeze,
        tone="danger",
        shown=lambda world: _lives(world) and not _is_frozen(world),
    ),
    Button(
        name="unfreeze",
        label="Unfreeze",
        permission="gate.reopen",
        afterwards=_after_unfreeze,
        perform=_unfreeze,
        shown=_is_frozen,
    ),
    Button(
        name="pause",
        label="Pause",
        permission="gate.close",
        afterwards=lambda _world: (
            "What is active goes on trading, and reductions go on. Only the schedule starts no increase any more."
        ),
        perform=_pause,
        shown=lambda world: _lives(world) and not world.paused,
    ),
    Button(
        name="resume",
        label="Resume",
        permission="gate.reopen",
        afterwards=lambda _world: "What is active goes on trading. The schedule may ask for increases again.",
        perform=_resume,
        shown=lambda world: _lives(world) and world.paused,
    ),
    Button(
        name="rollback",
        label="Roll back",
        permission="rollback.request",
        afterwards=lambda _world: (
            "Whatever leaves or shrinks does so at once. What comes back or grows waits for another person's approval;"
            " until then the rest goes on trading."
        ),
        perform=_rollback,
        form=RollbackForm,
        tone="danger",
        shown=lambda world: _lives(world) and world.generation > 0,
        details=_rollback_details,
    ),
    Button(
        name="upload",
        label="Upload policy",
        permission="policy.draft",
        afterwards=lambda world: (
            f"Version {world.policy.version} stays in force and goes on deciding. The new one is a draft."
            if world.policy
            else "Nothing trades. The new version is a draft until a second person puts it in force."
        ),
        perform=_upload,
        form=PolicyForm,
        shown=_lives,
    ),
    Button(
        name="archive",
        label="Archive",
        permission="world.archive",
        afterwards=lambda _world: (
            "Nothing: every gate of the world closes for good, for exits too. It is refused while anything is active."
        ),
        perform=_archive,
        tone="danger",
        shown=_lives,
    ),
)

CREATE = Button(
    name="add",
    label="Create a world",
    permission="world.create",
    afterwards=lambda _none: "Nothing in the new world, until a policy is in force and a first set is approved.",
    perform=_create,
    form=WorldForm,
    tone="primary",
)
