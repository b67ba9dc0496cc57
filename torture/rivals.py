"""People who act at the same moment: exactly one of them gets what he asks for."""

from __future__ import annotations

from functools import partial
from typing import Any, Final

from qmtl_worlds.contracts.states import RunState
from torture.scenes import OF_OPERATORS, Scene
from torture.stage import Stage
from worlds.models import ApplyRun

SHARE: Final = 0.1
"""How often two people act at the same moment."""


def race(stage: Stage, world_id: str, scene: Scene, *, share: float) -> None:
    """Let two people decide on a run at the same moment, where ``share`` is low enough for it."""
    if share < SHARE:
        approve_at_once(stage, world_id, scene.run_id)
    elif share < 2 * SHARE and scene.target.startswith(OF_OPERATORS):
        approve_and_abort(stage, world_id, scene)


def ask_at_once(stage: Stage, world_id: str, scene: Scene) -> str:
    """Let two people ask for the same plan under two ids at one moment; return the one that goes on.

    Only one may wait for approval: the later one supersedes the other.
    """
    ids = (scene.run_id, f"{scene.run_id}-too")
    both = [stage.begin(scene.verb, world_id, run_id=run_id, **scene.words) for run_id in ids]
    for child in both:
        stage.outcome(scene.verb, child)
    answers = {run_id: stage.insist(scene.verb, world_id, run_id=run_id, **scene.words) for run_id in ids}
    stage.tally.count("races: two requests")
    for run_id, answer in answers.items():
        if "digest" in answer:
            stage.acknowledge(world_id, run_id, answer["digest"])
    waiting = ApplyRun.objects.filter(world_id=world_id, run_id__in=ids, state=RunState.REQUESTED)
    left = stage.read(lambda: list(waiting.values_list("run_id", flat=True)))
    if len(left) != 1:
        stage.tally.problem("violation", "not one of two requests waits", invariant="I3", answers=answers, left=left)
        return scene.run_id
    return left[0]


def approve_at_once(stage: Stage, world_id: str, run_id: str) -> None:
    """Let two people approve at one moment where one is enough: the run is approved once."""
    both = [stage.begin("approve", world_id, run_id=run_id, by=name) for name in ("bob", "carol")]
    answers = [stage.outcome("approve", child) for child in both]
    stage.tally.count("races: two approvals")
    accepted = [answer for answer in answers if answer is not None and "state" in answer]
    if len(accepted) > 1:
        stage.tally.problem("violation", "a run was approved twice", invariant="I4", run=run_id, answers=answers)


def approve_and_abort(stage: Stage, world_id: str, scene: Scene) -> None:
    """Let one person approve and another abort at one moment: an abort that was answered stands, whoever was first."""
    approving = stage.begin("approve", world_id, run_id=scene.run_id)
    aborting = stage.begin("abort", world_id, run_id=scene.run_id)
    stage.outcome("approve", approving)
    answer = stage.outcome("abort", aborting)
    stage.tally.count("races: approve and abort")
    scene.aborted = answer is not None and "state" in answer


def ask_for_another(stage: Stage, world_id: str, scene: Scene) -> Scene | None:
    """Let somebody ask for the same under another id while the run is under way; return what came of it.

    That is a refusal unless the run is over and has changed nothing (I3).
    """
    rival = Scene(f"{scene.run_id}-rival", "", verb=scene.verb, words=scene.words)
    answer: dict[str, Any] = stage.insist(scene.verb, world_id, run_id=rival.run_id, **scene.words)
    stage.tally.count("rival requests")
    if "digest" not in answer:
        return None
    stage.acknowledge(world_id, rival.run_id, answer["digest"])
    if answer["state"] == RunState.REQUESTED:
        stage.read(partial(stage.insist, "approve", world_id, run_id=rival.run_id))
    return rival
