"""One storm: worlds under way, processes dying, an observer that sees everything, and the reckoning at the end."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from django.db import connections

from qmtl_worlds.failpoints import every_point
from torture.children import Child, nursery
from torture.episode import Life
from torture.people import MEMBERS, found_world, tokens
from torture.reckoning import reckon
from torture.servers import SLACK_SECONDS, Servers, free_port
from torture.stage import Stage, StoppedError
from torture.standing import Standing
from torture.tally import READS, Tally
from torture.weather import Weather

LEASE_MS: Final = 1000
POSTS: Final = 0.15
"""How often, in bad weather, a request is sent over HTTP to a web process that dies of it."""
WEBS: Final = 2
"""So many web processes serve in bad weather, and Runners ask either."""
ENDING_SECONDS: Final = 60.0
MOST_TIMES: Final = 4
MOST_SECONDS_A_KILL: Final = 2.0
MOST_SECONDS_A_READ: Final = 0.02
"""So many times its length may a storm take, and so long for each death and each read that it was asked for."""
SPEAK_SECONDS: Final = 5.0
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """How long and how hard: it ends once ``seconds``, ``kills`` and ``reads`` are reached, or something does not hold.

    ``points`` are aimed at in turn; ``weather`` strikes everything else; ``mutants`` make the product wrong. ``action``
    is what befalls workers instead of death; where it is ``gentle``, nothing else does, but what ``twin`` names befalls
    a worker just before. ``kill_share`` is how often somebody kills the world under an apply, ``rival_share`` how often
    somebody else asks for another one. ``strikes`` are the only kinds of weather where it has any. ``manner`` is how
    Runners ask that are not slow, ``rest`` for how long a world is left alone between two runs.
    """

    seed: str
    seconds: float
    kills: int = 0
    reads: int = 0
    worlds: int = 8
    runners: int = 2
    points: tuple[str, ...] = every_point()
    mutants: tuple[str, ...] = ()
    weather: bool = False
    action: str = ""
    gentle: bool = False
    lease_ms: int = LEASE_MS
    kill_share: float = 0.15
    rival_share: float = 0.1
    twin: str = ""
    strikes: tuple[str, ...] = ()
    manner: str = ""
    rest: float = 0.0
    tick_every: float = 1.0


def rage(servers: Servers, plan: Plan, *, say: Say) -> Tally:
    """Go through a storm on servers whose database is migrated; return its figures."""
    tally = Tally(seeds=[plan.seed])
    name = f"{plan.seed}-{time.monotonic_ns() % 10**6}".lower()
    folder = servers.folder / name
    folder.mkdir()
    worlds = [found_world(f"w{number}-{name}", lease_ms=plan.lease_ms).id for number in range(plan.worlds)]
    with nursery(folder, worlds=worlds, mutants=plan.mutants) as children:
        stage = Stage(
            children=children,
            tally=tally,
            folder=folder,
            servers=tuple(f"http://127.0.0.1:{free_port()}" for _ in range(WEBS if _is_windy(plan) else 1)),
            tokens=dict(tokens()),
            lease_seconds=plan.lease_ms / 1000,
            points=plan.points,
            action=plan.action,
            gentle=plan.gentle,
            weather=plan.weather,
            kill_share=plan.kill_share,
            rival_share=plan.rival_share,
            twin=plan.twin,
            rest=plan.rest,
            post_share=POSTS if plan.weather else 0.0,
            standing=Standing(children),
        )
        connections.close_all()
        with standing(stage, plan, worlds) as observer:
            weather = Weather(stage, servers, worlds, plan.seed, only=plan.strikes) if _is_windy(plan) else None
            _live(stage, plan, worlds, Surroundings(observer, weather, say))
            _count_kills(stage)
            if not stage.stopped.is_set():
                stage.read(partial(reckon, stage, worlds))  # connections may have been cut just now
    return tally


@contextmanager
def standing(stage: Stage, plan: Plan, worlds: Sequence[str]) -> Iterator[Watch]:
    """Let web, tick, Runners and the observer run; at the end take in what the observer has seen."""
    ports = [int(server.rpartition(":")[2]) for server in stage.servers]
    for name, port in zip(("web", "second web"), ports, strict=False):
        stage.standing.add(name, "web", port=port)
    servers = list(stage.servers)
    stage.standing.add("tick", "tick", every=plan.tick_every)
    if plan.weather:
        wire = free_port()
        servers[0] = f"http://127.0.0.1:{wire}"
        stage.standing.add("wire", "wire", port=wire, target=ports[0], seed=plan.seed)
        stage.standing.add("worker", "celery", nickname="worker")
        for number in range(2):
            stage.standing.add("beat", "beat", schedule=str(stage.folder / f"beat-{number}"))
    for number in range(plan.runners):
        stage.standing.add(
            "Runner",
            "runner",
            servers=servers,
            token=stage.tokens["runner"],
            gates=[[world, name] for world in worlds for name in MEMBERS][number :: plan.runners],
            log=str(stage.folder / f"runner-{number}.jsonl"),
            manner="slow" if number == 0 else plan.manner,
        )
    watch = Watch(
        stage.children.start(
            "observer",
            server=stage.servers[0],
            token=stage.tokens["runner"],
            worlds=list(worlds),
            folder=str(stage.folder),
            lease_ms=plan.lease_ms,
            slack_seconds=SLACK_SECONDS,
        )
    )
    try:
        yield watch
    finally:
        watch.end()
        stage.tally.counts.update(watch.counts)
        for violation in watch.violations:
            stage.tally.problem("violation", **violation)


class Watch:
    """The observer, as the storm sees it."""

    def __init__(self, child: Child) -> None:
        """Listen to it."""
        self._child = child
        self.counts: dict[str, int] = {}
        self.violations: list[dict[str, Any]] = []

    @property
    def alarmed(self) -> bool:
        """Tell whether something did not hold, or nobody watches any more."""
        return bool(self.violations) or not self._child.alive

    def listen(self, seconds: float) -> None:
        """Hear what it has seen; that it is gone counts as well."""
        told = self._child.hear(seconds)
        if told is not None:
            self.counts, self.violations = told["counts"], told["violations"]
        elif not self._child.alive and self._child.exit_code:
            self.violations.append({"what": f"the observer ended with {self._child.exit_code}"})

    def end(self) -> None:
        """Ask it for its last word."""
        self._child.signal(signal.SIGTERM)
        until = time.monotonic() + 60
        while self._child.alive and time.monotonic() < until:
            self.listen(1)
        self.listen(0)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Who watches, what strikes, and whom to tell."""

    watch: Watch
    weather: Weather | None
    say: Say


def _live(stage: Stage, plan: Plan, worlds: Sequence[str], around: Surroundings) -> None:
    """Let all worlds live until the plan is fulfilled, then let them come to rest."""
    pool = ThreadPoolExecutor(len(worlds))
    lives = [pool.submit(_lived, Life(stage, world, seed=plan.seed)) for world in worlds]
    started = time.monotonic()
    spoken = started
    watch = around.watch
    while not all(life.done() for life in lives):
        watch.listen(0.5)
        if around.weather is not None and not stage.ready_to_stop.is_set():
            around.weather.strike()
        elapsed = time.monotonic() - started
        if elapsed > _longest(plan) and not stage.stopped.is_set():
            stage.tally.problem("stuck", "the storm would not end")
        _stop_where_wrong(stage, watch, lives)
        if elapsed >= plan.seconds and kills(stage) >= plan.kills and _reads(watch) >= plan.reads:
            stage.ready_to_stop.set()
        if time.monotonic() - spoken >= SPEAK_SECONDS:
            spoken = time.monotonic()
            around.say(_progress(stage, watch, elapsed))
    pool.shutdown()
    for error in filter(None, (life.exception() for life in lives)):
        stage.tally.problem("harness", f"{type(error).__name__}: {error}")


def _stop_where_wrong(stage: Stage, watch: Watch, lives: Sequence[Future[None]]) -> None:
    """End everything as it is, so that the evidence stays; what the harness does wrong ends the storm as well."""
    is_broken = any(life.done() and life.exception() is not None for life in lives)
    if watch.alarmed or stage.tally.problems or is_broken:
        stage.stopped.set()
        stage.ready_to_stop.set()


def _lived(life: Life) -> None:
    """Live until the end, or until the storm is stopped."""
    try:
        with suppress(StoppedError):
            life.live()
    finally:
        connections.close_all()


def kills(stage: Stage) -> int:
    """Return how many processes have killed themselves at a point so far."""
    return sum(action == "kill" for action, _point in stage.faults())


def _reads(watch: Watch) -> int:
    return sum(watch.counts.get(name, 0) for name in READS)


def _longest(plan: Plan) -> float:
    """Return the seconds after which a storm that goes on is stuck."""
    wanted = plan.kills * MOST_SECONDS_A_KILL + plan.reads * MOST_SECONDS_A_READ
    return MOST_TIMES * plan.seconds + wanted + ENDING_SECONDS


def _is_windy(plan: Plan) -> bool:
    return plan.weather or bool(plan.strikes)


def _count_kills(stage: Stage) -> None:
    for action, point in stage.faults():
        if action == "kill":
            stage.tally.killed_at(point)
        else:
            stage.tally.fault(f"{action} at a failpoint")


def _progress(stage: Stage, watch: Watch, elapsed: float) -> str:
    done = stage.tally.counts["applies"]
    bad = len(watch.violations) + len(stage.tally.problems)
    return f"{elapsed:5.0f} s  kills {kills(stage):5d}  applies {done:5d}  reads {_reads(watch):7d}  violations {bad}"
