"""What one call of ``worlds_torture`` does: a storm where one is wanted, then the mutants, then the figures."""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import time
from collections import defaultdict
from collections.abc import Mapping
from typing import Final, NamedTuple

from django.core.management import call_command
from django.db import connections

from formal.patches import MEANINGS
from qmtl_worlds.failpoints import every_point
from torture import history, people
from torture.mutants import unguarded
from torture.servers import Servers
from torture.storm import LEASE_MS, Plan, rage
from torture.tally import READS, Tally, quantile

MUTANT_SECONDS: Final = 40.0
MUTANT_WORLDS: Final = 4
_STEPS: Final = tuple(point for point in every_point() if point.startswith("advance."))


class Aim(NamedTuple):
    """What has to happen, and to whom, so that a mutant has a chance to show."""

    points: tuple[str, ...] = _STEPS
    action: str = ""
    gentle: bool = False
    lease_ms: int = LEASE_MS
    kill_share: float = 0.0
    rival_share: float = 0.0
    twin: str = ""
    strikes: tuple[str, ...] = ()
    manner: str = ""
    rest: float = 0.0
    tick_every: float = 1.0


_DAWDLES: Final = "advance.between_steps=delay:0.5"
_WEB_STOPS: Final = ("stopped and continued: web", "stopped and continued: second web")
AIMS: Final[Mapping[str, Aim]] = defaultdict(
    Aim,
    B1=Aim(("advance.after_commit/draining",), kill_share=0.9),
    B2=Aim(("advance.between_steps",), "delay:0.5", gentle=True, twin=_DAWDLES, tick_every=4.0),
    B3=Aim(("advance.after_commit/draining",), rival_share=1.0),
    B4=Aim(("project.before_lua",), gentle=True, tick_every=3.0),
    B5=Aim(("advance.after_commit/frozen",), gentle=True, twin="project.before_lua=delay:2.5:1", tick_every=4.0),
    B6=Aim(("advance.between_steps",), "delay:0.01", gentle=True, lease_ms=3000, rest=1.0),
    B7=Aim(("evaluate.after_commit",), gentle=True, lease_ms=3000, strikes=("Redis paused",), manner="eager", rest=0.5),
    B8=Aim(("advance.after_commit/rolling_back", "advance.after_commit/rolled_back")),
    B9=Aim(("project.after_lua",)),
    B10=Aim(("advance.before_commit/freezing",), "delay:1.7", gentle=True, lease_ms=3000),
    B11=Aim(("evaluate.after_commit",), gentle=True, lease_ms=3000),
    B12=Aim(("evaluate.after_commit",), gentle=True, strikes=_WEB_STOPS, manner="eager"),
    B13=Aim(("advance.after_commit/draining",), gentle=True),
)


def run(servers: Servers, options: argparse.Namespace) -> int:
    """Run what the command line asks for; 1 where anything did not hold, or a mutant went unnoticed."""
    started = time.monotonic()
    logging.getLogger("psycopg.pool").setLevel(logging.ERROR)  # that connections are cut is no news
    call_command("migrate", verbosity=0)
    history.install()
    people.hire()
    connections.close_all()
    say(f"seed {options.seed}, database {options.database}, servers up in {time.monotonic() - started:.1f} s")
    plan = Plan(
        seed=options.seed,
        seconds=options.minutes * 60,
        kills=options.kills,
        reads=options.reads,
        worlds=options.worlds,
        weather=options.weather,
        strikes=tuple(filter(None, options.strikes.split(","))),
    )
    wanted = plan.seconds or plan.kills or plan.reads
    tally = rage(servers, plan, say=say) if wanted else Tally(seeds=[plan.seed])
    survivors = [name for name in options.mutants.split(",") if name and not _is_noticed(servers, plan, name, tally)]
    say_figures(tally, seconds=time.monotonic() - started)
    if options.report is not None:
        report = {
            **tally.to_json(),
            "database": options.database,
            "seconds": round(time.monotonic() - started, 1),
            "load": round(os.getloadavg()[0] / (os.cpu_count() or 1), 1),
        }
        with options.report.open("a", encoding="utf-8") as file:
            file.write(json.dumps(report, sort_keys=True) + "\n")
    return int(bool(tally.problems or survivors))


def say(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def say_figures(tally: Tally, *, seconds: float) -> None:
    """Print what came out."""
    counts, known = tally.counts, len(every_point())
    reads = sum(counts[name] for name in READS)
    missed = sorted(set(every_point()) - set(tally.points))
    lines = [
        f"{seconds:.0f} s; applies {counts['applies']}: {dict(tally.ends)}",
        f"faults {sum(tally.faults.values())}: {dict(tally.faults)}",
        f"crash points hit {len(tally.points)} of {known} known; not hit: {missed}",
        f"observer reads {reads} (API {counts['api_reads']}, Redis {counts['redis_reads']}, "
        f"gate polls {counts['gate_polls']}), permissions {counts['permissions']}",
        f"recovery p50 {quantile(tally.recoveries, 0.5):.2f} s, p99 {quantile(tally.recoveries, 0.99):.2f} s, "
        f"max {quantile(tally.recoveries, 1):.2f} s of {len(tally.recoveries)}",
        f"kill committed p50 {quantile(tally.kill_latencies, 0.5):.3f} s, "
        f"p99 {quantile(tally.kill_latencies, 0.99):.3f} s of {len(tally.kill_latencies)}",
        f"violations {tally.problems_of('violation')}, lost {tally.problems_of('lost')}, "
        f"duplicated {tally.problems_of('duplicated')}, stuck {tally.problems_of('stuck')}",
        f"counts {dict(counts)}",
        *(json.dumps(problem) for problem in tally.problems),
    ]
    for line in lines:
        say(line)


def _is_noticed(servers: Servers, plan: Plan, name: str, tally: Tally) -> bool:
    """Tell whether a storm with the mutant shows that something is wrong."""
    aimed = Plan(f"{plan.seed}-{name}", MUTANT_SECONDS, worlds=MUTANT_WORLDS, mutants=(name,), **AIMS[name]._asdict())
    started = time.monotonic()
    with unguarded([name]):
        found = rage(servers, aimed, say=lambda _line: None)
    noticed = next((problem for problem in found.problems if problem["kind"] != "harness"), None)
    told = (
        f"{noticed['what']} ({noticed.get('invariant', noticed['kind'])})"
        if noticed
        else f"nothing {found.problems} {dict(found.counts)} {dict(found.ends)}"
    )
    say(f"mutant {name}, {MEANINGS[name]}: {told} after {time.monotonic() - started:.0f} s")
    say(f"  {json.dumps(noticed)[:1500]}")
    tally.mutants[name] = told if noticed else ""
    return noticed is not None
