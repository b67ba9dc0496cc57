"""An old backup is put back while Runners ask, and everything is started again before anybody has fenced.

Nothing may be permitted from the restore until a person lifts the fence, and no Runner may go back to what is older.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from django.core.management import call_command
from django.db import connections

from torture import people
from torture.children import nursery
from torture.observer import Tails
from torture.people import MEMBERS, found_world
from torture.servers import Servers, free_port
from torture.stage import Stage
from torture.standing import Standing
from torture.tally import Tally
from worlds.models import GateHold

LEASE_MS: Final = 1000
WORLDS: Final = ("comes-open", "comes-closed")
WATCH_SECONDS: Final = 4.0
PATIENCE_SECONDS: Final = 90.0
SILENT: Final = ("restored", "still restored", "fenced")
"""The phases in which nothing may be permitted."""


def run(servers: Servers, options: argparse.Namespace) -> int:
    """Play it and tell what was seen, as a line of JSON; 1 where something did not hold."""
    call_command("migrate", verbosity=0)
    people.hire()
    for world_id in WORLDS:
        found_world(world_id, lease_ms=LEASE_MS)
    folder = servers.folder / "comeback"
    folder.mkdir()
    with nursery(folder, worlds=WORLDS) as children:
        stage = Stage(
            children=children,
            tally=Tally(),
            folder=folder,
            servers=(f"http://127.0.0.1:{free_port()}",),
            tokens=dict(people.tokens()),
            lease_seconds=LEASE_MS / 1000,
            points=(),
            standing=Standing(children),
        )
        told = Comeback(stage, servers).play()
    sys.stdout.write(json.dumps(told) + "\n")
    if options.report is not None:
        options.report.write_text(json.dumps(told), encoding="utf-8")
    silent = not any(told["permitted"][phase] for phase in SILENT)
    return int(not silent or bool(told["fell"] or told["late"]))


class Comeback:
    """The phases of a restore, and who was let through when."""

    def __init__(self, stage: Stage, running: Servers) -> None:
        """Tell of the worlds on ``stage``."""
        self._stage, self._running = stage, running
        self._tails = Tails(stage.folder)
        self._lines: list[dict[str, Any]] = []
        self._highest: dict[tuple[str, ...], list[int]] = {}
        self.told: dict[str, Any] = {"fell": 0, "permitted": {}, "suspected": [], "late": 0}

    def play(self) -> dict[str, Any]:
        """Go through all of it."""
        self._stage.standing.add("web", "web", port=int(self._stage.servers[0].rpartition(":")[2]))
        self._stage.standing.add("tick", "tick")
        self._start_runners("old")
        for world_id in WORLDS:
            self._fill(world_id)
        self._watch("before", lambda: len(self._permitted()) == self._gates)
        backup = self._stage.folder / "backup"
        connections.close_all()
        self._running.database.save(backup)
        self._go_on()
        self._restore(backup)
        self._watch("restored", self._is_suspected)
        self._start_runners("fresh")
        self._watch("still restored")
        call_command("world_restore_fence", all=True, reason="an old backup", stdout=sys.stderr)
        self._watch("fenced")
        for world_id in WORLDS:
            self._stage.insist("open", world_id)
        self._watch("lifted", lambda: len(self._permitted()) == self._gates)
        return self.told | {"polls": len(self._lines), "gates": self._gates}

    @property
    def _gates(self) -> int:
        runners = [name for name in self._stage.standing.names() if name.startswith("Runner")]
        return len(WORLDS) * len(MEMBERS) * len(runners)

    def _fill(self, world_id: str) -> None:
        evaluation = f"{world_id}-eval"
        self._stage.insist("evaluate", world_id, run_id=evaluation, day=1)
        self._stage.insist("request", world_id, run_id=world_id, evaluation=evaluation)
        self._stage.insist("approve", world_id, run_id=world_id)

    def _go_on(self) -> None:
        """Let everybody see what the backup does not know: other positions, and in one world that it was closed."""
        for world_id in WORLDS:
            for verb in ("freeze", "unfreeze", "freeze"):
                self._stage.insist(verb, world_id)
        self._stage.insist("unfreeze", WORLDS[0])
        self._watch("went on")

    def _restore(self, backup: Path) -> None:
        """Put the backup back and start what was running, before anybody fences."""
        for name in ("web", "tick"):
            self._stage.standing.kill(name)
        connections.close_all()
        self._running.database.put_back(backup)
        time.sleep(LEASE_MS / 1000)  # what was held from before dies by itself
        for name in ("web", "tick"):
            self._stage.standing.start(name)

    def _is_suspected(self) -> bool:
        holds = GateHold.objects.filter(kind="boot", owner="suspected")
        self.told["suspected"] = self._stage.read(lambda: sorted(holds.values_list("world_id", flat=True)))
        return len(self.told["suspected"]) == len(WORLDS)

    def _start_runners(self, name: str) -> None:
        stage = self._stage
        stage.standing.add(
            f"Runner {name}",
            "runner",
            servers=list(stage.servers),
            token=stage.tokens["runner"],
            gates=[[world, member] for world in WORLDS for member in MEMBERS],
            log=str(stage.folder / f"runner-{name}.jsonl"),
            manner="",
        )

    def _watch(self, phase: str, done: Callable[[], bool] | None = None) -> None:
        """Look at Runners until ``done``, or for a while; note how often anything was permitted meanwhile."""
        started = time.monotonic()
        until = started + (PATIENCE_SECONDS if done else WATCH_SECONDS)
        while time.monotonic() < until and not (done and done()):
            self._read()
            time.sleep(0.1)
        self._read()
        permitted = [line for line in self._lines if line["at"] >= started and _permits(line)]
        self.told["permitted"][phase] = len(permitted)

    def _permitted(self) -> set[tuple[str, str, int]]:
        """Return the gates that are open now."""
        now = time.monotonic()
        last = {(line["world"], line["key"], line["process"]): line for line in self._lines}
        return {place for place, line in last.items() if line["open"] and line["deadline"] > now}

    def _read(self) -> None:
        for name, line in self._tails.lines("runner-*.jsonl"):
            if "late" in line:
                self.told["late"] += 1
                continue
            self._lines.append(line)
            place = (name, line["world"], line["key"])
            if line["answer"] is not None:
                position = line["answer"]["position"]
                self.told["fell"] += position < self._highest.get(place, position)
                self._highest[place] = position


def _permits(line: dict[str, Any]) -> bool:
    return bool(line["open"] and line["deadline"] > line["at"])
