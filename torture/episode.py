"""One world's life in a storm: apply after apply, with processes that die in the middle of it."""

from __future__ import annotations

import random
from datetime import timedelta
from functools import partial
from typing import Any, Final

from qmtl_worlds.contracts.states import LIVE_STATES, TERMINAL_STATES, RunKind, RunState
from qmtl_worlds.failpoints import POINTS, every_point
from torture import closings, posts, rivals
from torture.children import Child
from torture.people import DAYS, MEMBERS
from torture.scenes import OF_OPERATORS, Scene, suits
from torture.stage import PATIENCE_SECONDS, Stage
from worlds.models import ApplyRun, World
from worlds.selectors import members_of
from worlds.stores.clock import database_now

MARGIN_DAYS: Final = 60
PASSED_BY_ALL: Final = tuple(point for point in POINTS if point.startswith("advance."))
"""Points, whatever the state, that every worker comes by."""
MOST_DEATHS: Final = 6
"""So many workers may die on one run."""
MORE_WORKERS: Final = (1, 1, 2, 3)
"""So many of them come to grief somewhere, after the one that dies at the target."""
TWIN_AHEAD_SECONDS: Final = 0.2


class Life:
    """Acts on one world again and again, until there is no time for another episode."""

    def __init__(self, stage: Stage, world_id: str, *, seed: str) -> None:
        """Throw dice of its own, so that the seed gives the same acts."""
        self._stage, self._world_id = stage, world_id
        self._dice = random.Random(f"{seed}/{world_id}")  # noqa: S311 - no secret
        self._number = 0

    def live(self) -> None:
        """Go through episodes; the first one fills the world."""
        while not self._stage.ready_to_stop.is_set():
            scene = self._next_scene()
            state = self._play(scene)
            if state is not None:
                self._stage.tally.ended(state)
                self._stage.tally.count("applies")
            self._stage.pause(self._stage.rest)

    def _next_scene(self) -> Scene:
        self._number += 1
        full = self._members() == set(MEMBERS)
        target = self._stage.next_point(self._dice, fits=partial(suits, full=full))
        return Scene(f"{self._world_id}-{self._number}", target)

    def _play(self, scene: Scene) -> str | None:
        """Request a run and see it to its end, whoever dies meanwhile; None where none came about."""
        if scene.target.startswith("hold."):
            self._freeze_and_unfreeze(scene)
        if scene.target.startswith("kill."):
            self._dying(scene, "kill", "kill.")
            closings.close(self._stage, self._world_id, closings.KILL)
            closings.open_again(self._stage, self._world_id, closings.KILL)
        asked = self._ask(scene)
        if "refused" in asked:
            return None
        self._stage.acknowledge(self._world_id, scene.run_id, asked["digest"])
        if asked["state"] == RunState.REQUESTED:
            self._approve(scene)
        return self._carry_on(scene)

    def _ask(self, scene: Scene) -> dict[str, Any]:
        """Ask for less where the world is full, and for more where it is not."""
        full = self._members() == set(MEMBERS)
        past = self._generation_where(full=not full)
        if past is not None and (scene.target.startswith("rollback.") or self._chance(0.5)):
            return self._repeated(scene, "rollback", "rollback.", to_generation=past)
        evaluation = f"{scene.run_id}-eval"
        day = min(self._number, DAYS - MARGIN_DAYS)  # what was demoted comes back on new evidence only
        self._dying(scene, "evaluate", "evaluate.", run_id=evaluation, day=day)
        self._stage.insist("evaluate", self._world_id, run_id=evaluation, day=day)
        named = {"deactivate": [self._dice.choice(MEMBERS)]} if full else {}
        return self._repeated(scene, "request", "request.", evaluation=evaluation, **named)

    def _repeated(self, scene: Scene, verb: str, point: str, **words: Any) -> dict[str, Any]:
        """Ask, maybe die, ask again as the same request, and once as another one under the same id."""
        scene.verb, scene.words = verb, words
        if verb == "request" and self._chance(0.5 if scene.target.startswith("request.") else self._stage.post_share):
            failpoints = scene.armed(point) or self._dice.choice(posts.DEATHS)
            return posts.post(self._stage, self._world_id, scene.run_id, failpoints=failpoints, words=words)
        died = self._dying(scene, verb, point, run_id=scene.run_id, **words)
        answer = self._stage.insist(verb, self._world_id, run_id=scene.run_id, **words)
        right = "refused" in answer or self._stage.was_answered_rightly(scene.target, replayed=answer["replayed"])
        if died and not right:
            self._stage.tally.problem("lost", "a request was not answered as before", scene=scene, answer=answer)
        if "refused" not in answer and self._chance(0.2):
            self._clash(scene, verb)
        if answer.get("state") == RunState.REQUESTED and not self._stage.gentle and self._chance(rivals.SHARE):
            scene.run_id = rivals.ask_at_once(self._stage, self._world_id, scene)
            answer = self._stage.insist(verb, self._world_id, run_id=scene.run_id, **words)
        return answer

    def _clash(self, scene: Scene, verb: str) -> None:
        other = {"to_generation": 10**6} if verb == "rollback" else {"evaluation": "another"}
        clash = self._stage.insist(verb, self._world_id, run_id=scene.run_id, **other)
        self._stage.tally.count("reused ids")
        if clash.get("refused") != "run-id-reused":
            self._stage.tally.problem("duplicated", "an id was taken twice", scene=scene, answer=clash)

    def _approve(self, scene: Scene) -> None:
        points = (
            "approve.",
            "advance.before_audit/queued",
            "advance.before_commit/queued",
            "advance.after_commit/queued",
        )
        if scene.target.endswith("/cancelled"):
            self._note(self._stage.insist("freeze", self._world_id))
        self._dying(scene, "approve", *points, run_id=scene.run_id)
        if not self._stage.gentle:
            rivals.race(self._stage, self._world_id, scene, share=self._dice.random())
        self._stage.insist("approve", self._world_id, run_id=scene.run_id)

    def _carry_on(self, scene: Scene) -> str:
        """Let workers carry the run on and die; whoever is left, at last the tick, brings it to its end."""
        first = self._let_a_twin_begin(scene)
        is_last = self._stage.ready_to_stop.is_set()
        if not scene.target.startswith(OF_OPERATORS) and not is_last:
            self._let_die(scene)
        if first is not None:
            self._stage.over(first)
        rival = self._let_a_rival_ask(scene)
        is_quiet = self._stage.gentle or is_last
        twin = None if is_quiet else self._let_more_happen(scene)
        closing = None if is_quiet else self._close_under_way()
        state = self._end_of(scene)
        if closing is not None:
            closings.see_it_stand(self._stage, self._world_id, closing)
            closings.open_again(self._stage, self._world_id, closing)
        if scene.target.endswith("/cancelled"):
            self._note(self._stage.insist("unfreeze", self._world_id))
        if twin is not None:
            self._stage.over(twin)
        if rival is not None:
            self._end_of(rival)
        return state

    def _close_under_way(self) -> closings.Closing | None:
        """Kill the world or trip its circuit, sometimes, in whatever state the run is."""
        if not self._chance(self._stage.kill_share):
            return None
        closing = self._dice.choice((closings.KILL, closings.TRIP))
        self._stage.pause(self._dice.uniform(0, 1.5 * self._stage.lease_seconds))
        closings.close(self._stage, self._world_id, closing)
        return closing

    def _let_a_twin_begin(self, scene: Scene) -> Child | None:
        """Let a worker in trouble begin before the others, where the plan wants one."""
        if not self._stage.twin:
            return None
        child = self._worker(scene, self._stage.twin)
        self._stage.pause(TWIN_AHEAD_SECONDS)
        return child

    def _let_a_rival_ask(self, scene: Scene) -> Scene | None:
        is_increase = self._run(scene).kind == RunKind.INCREASE
        if is_increase and self._chance(self._stage.rival_share):
            return rivals.ask_for_another(self._stage, self._world_id, scene)
        return None

    def _let_more_happen(self, scene: Scene) -> Child | None:
        """Let more workers die on the run, and one go on slowly beside the others."""
        for _ in range(self._dice.choice(MORE_WORKERS) if scene.deaths < MOST_DEATHS - 1 else 0):
            self._let_a_worker(scene, self._trouble())
        if not self._chance(0.3):
            return None
        scene.lease_end = None  # what follows is no recovery from a death alone
        return self._worker(scene, self._trouble(kinds=("delay",)))

    def _let_die(self, scene: Scene) -> None:
        """Let somebody die at the target: a worker, the tick, or whoever undoes a switch."""
        state = scene.target.rpartition("/")[2]
        if scene.target.startswith(("tick.", "relay.")):
            self._let_a_tick_die(scene)
        elif state == RunState.HELD:
            self._fence_under_way(scene)
        elif state in {RunState.ROLLING_BACK, RunState.ROLLED_BACK}:
            self._abort_under_way(scene, at=RunState.SWITCHED if self._chance(0.5) else RunState.DRAINING)
        else:
            action = self._stage.action or "kill"
            self._let_a_worker(scene, f"{scene.target}={action}")

    def _abort_under_way(self, scene: Scene, *, at: RunState) -> None:
        """Let whoever undoes a run die, at the abort or afterwards."""
        self._let_a_worker(scene, f"advance.after_commit/{at.value}=kill")
        self._dying(scene, "abort", "advance.", run_id=scene.run_id)
        self._stage.act("abort", self._world_id, run_id=scene.run_id)
        self._let_a_worker(scene, f"{scene.target}=kill")

    def _fence_under_way(self, scene: Scene) -> None:
        """Fence the world as after a restore: whoever comes next holds the run, and dies of it."""
        self._let_a_worker(scene, "advance.after_commit/draining=kill")
        if self._is_live(scene):
            self._note(self._stage.insist("fence", self._world_id))
            self._stage.tally.fault("a world fenced under an apply")
            self._let_a_worker(scene, f"{scene.target}=kill")
            self._note(self._stage.insist("open", self._world_id))

    def _let_a_worker(self, scene: Scene, failpoints: str) -> None:
        if self._is_live(scene):
            self._note_death(scene, self._worker(scene, failpoints))
            if "=delay" in failpoints:
                scene.lease_end = None  # what follows is no recovery from a death alone

    def _worker(self, scene: Scene, failpoints: str) -> Child:
        return self._stage.children.start(
            "worker", failpoints=failpoints, world_id=self._world_id, run_id=scene.run_id, seconds=8
        )

    def _let_a_tick_die(self, scene: Scene) -> None:
        self._note_death(scene, self._stage.children.start("tick", failpoints=f"{scene.target}=kill", every=0.1))

    def _note_death(self, scene: Scene, child: Child) -> None:
        self._stage.over(child)
        if not child.was_killed:
            return
        scene.deaths += 1
        run = self._run(scene)
        now = self._stage.read(database_now)
        scene.lease_end = max(now, run.lease_until or now) if run.state in LIVE_STATES else None

    def _dying(self, scene: Scene, verb: str, *points: str, **words: Any) -> bool:
        """Do an act whose process dies at the target, where the target is one of ``points``; tell whether it died."""
        failpoints = scene.armed(*points)
        if not failpoints:
            return False
        answer = self._stage.act(verb, self._world_id, failpoints=failpoints, **words)
        return answer is not None and "killed" in answer

    def _freeze_and_unfreeze(self, scene: Scene) -> None:
        for verb in ("freeze", "unfreeze"):
            if scene.target.endswith(f"/{verb}"):
                self._dying(scene, verb, "hold.")
            self._note(self._stage.insist(verb, self._world_id))

    def _trouble(self, *, kinds: tuple[str, ...] = ("kill", "kill", "delay")) -> str:
        """Return a fault at some point that a worker comes by."""
        if self._dice.choice(kinds) == "kill":
            return f"{self._dice.choice(PASSED_BY_ALL)}=kill:{self._dice.choice((1, 1, 2, 3))}"
        of_workers = [name for name in every_point() if not name.startswith((*OF_OPERATORS, "tick.", "relay."))]
        seconds = self._dice.uniform(0, 3 * self._stage.lease_seconds)
        return f"{self._dice.choice(of_workers)}=delay:{seconds:.2f}:1"

    def _end_of(self, scene: Scene) -> str:
        """Wait for the run's end; a held one is taken up by a person."""
        patience = self._stage.read(database_now) + timedelta(seconds=PATIENCE_SECONDS)
        while (run := self._run(scene)).state not in TERMINAL_STATES:
            if run.state == RunState.HELD:
                self._stage.tally.count("held")
                self._stage.act(self._dice.choice(("abort", "resume")), self._world_id, run_id=scene.run_id)
                scene.lease_end = None
            elif self._stage.read(database_now) > patience:
                self._stage.tally.problem("stuck", "a run never ended", scene=scene, state=run.state)
                break
            self._stage.pause(0.15)
        if scene.aborted and run.state not in {RunState.CANCELLED, RunState.ROLLED_BACK}:
            self._stage.tally.problem("violation", "an aborted run went on", invariant="I5", scene=scene)
        if scene.lease_end is not None:
            seconds = (run.state_changed_at - scene.lease_end).total_seconds()
            self._stage.tally.recovered(seconds, stormy=self._stage.weather)
        return run.state

    def _chance(self, share: float) -> bool:
        return self._dice.random() < share

    def _is_live(self, scene: Scene) -> bool:
        return self._run(scene).state in LIVE_STATES

    def _run(self, scene: Scene) -> ApplyRun:
        return self._stage.read(lambda: ApplyRun.objects.get(world_id=self._world_id, run_id=scene.run_id))

    def _note(self, answer: dict[str, Any]) -> None:
        if "sequence" in answer:
            self._stage.note_position(self._world_id, answer)

    def _members(self) -> set[str]:
        world = self._stage.read(lambda: World.objects.get(id=self._world_id))
        members = self._stage.read(lambda: members_of(self._world_id, world.generation))
        return {key.strategy_id for key in members}

    def _generation_where(self, *, full: bool) -> int | None:
        """Return the last generation before this one that had all members, or fewer."""
        world = self._stage.read(lambda: World.objects.get(id=self._world_id))
        for generation in range(world.generation - 1, max(0, world.generation - 4), -1):
            members = self._stage.read(partial(members_of, self._world_id, generation))
            if (len(members) == len(MEMBERS)) == full:
                return generation
        return None
