"""P1-P3, P5-P7, P19, P20: what an activation read costs, and how soon a change is readable.

Also how soon acts on 200 strategies are answered beside reads at full load, and kills while every thread is busy.

Prints a Markdown table; ``--json PATH`` writes the figures, ``--check`` exits with 1 on a miss, ``--only reads``
takes a part. ``--seconds N`` is the length of one round of reads, ``--acts N`` how many acts of a kind are timed.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from benchmarks.activation_acts import measure_acts
from benchmarks.activation_changes import measure_changes, measure_evaluating
from benchmarks.activation_reads import measure_reads
from benchmarks.activation_start import measure_start
from benchmarks.harness import Figure, options, report
from benchmarks.kill import figures_of
from benchmarks.servers import CLIENT_CORE, pin, prepare
from qmtl_worlds.embedded import postgres, valkey

PARTS: Final = ("reads", "start", "changes", "evaluating", "acts", "kill")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and judge where asked to."""
    parser = options(__doc__)
    parser.add_argument("--only", choices=PARTS, action="append")
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--acts", type=int, default=100)
    chosen = parser.parse_args(arguments)
    pin(CLIENT_CORE)
    raise_limits()
    parts = chosen.only or PARTS
    figures = [*_figures(parts, chosen.seconds), *_acts(parts, chosen.acts)]
    return report(figures, json_path=chosen.json, check=chosen.check)


def raise_limits() -> None:
    """Let this process and its children open as many files as they may."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def environment_in(folder: str, redis_url: str, database_url: str = "") -> dict[str, str]:
    """Return what a server needs in its environment, without any limit that would be measured instead of it."""
    database = {"DATABASE_URL": database_url} if database_url else {}
    inherited = {name: value for name, value in os.environ.items() if name not in {"DATABASE_URL", "REDIS_URL"}}
    return (
        inherited
        | database
        | {
            "DJANGO_SETTINGS_MODULE": "qmtl_worlds.settings",
            "QW_DATA_DIR": folder,
            "QW_HTTPS": "0",
            "QW_LOG_LEVEL": "ERROR",
            "QW_NO_BOOTSTRAP": "1",
            "QW_READS_PER_SECOND": "1000000",
            "QW_REQUESTS_PER_SECOND": "1000000",
            "REDIS_URL": redis_url,
        }
    )


def _figures(parts: Sequence[str], seconds: float) -> Iterator[Figure]:
    with tempfile.TemporaryDirectory(prefix="qw-") as folder, valkey.serve(Path(folder)) as redis_url:
        environment = environment_in(folder, redis_url)
        tokens = json.loads(prepare("benchmarks.live_world", environment=environment))
        if "reads" in parts:
            yield from measure_reads(environment=environment, token=tokens[0], seconds=seconds)
        if "start" in parts:
            yield from measure_start(environment=environment, token=tokens[0])
        if "changes" in parts:
            yield from measure_changes(environment=environment, token=tokens[0], where="embedded", goal_ms=20.0)
        if "evaluating" in parts:
            yield from measure_evaluating(environment=environment, token=tokens[0])
        if "changes" in parts:
            yield from _on_postgres(redis_url)


def _acts(parts: Sequence[str], acts: int) -> Iterator[Figure]:
    if "acts" in parts:
        server = postgres.start()
        try:
            with tempfile.TemporaryDirectory(prefix="qw-") as folder, valkey.serve(Path(folder)) as redis_url:
                environment = environment_in(folder, redis_url, server.url)
                yield from measure_acts(environment=environment, folder=Path(folder), acts=acts)
        finally:
            server.stop()
    if "kill" in parts:
        yield from figures_of(acts)


def _on_postgres(redis_url: str) -> Iterator[Figure]:
    server = postgres.start()
    try:
        with tempfile.TemporaryDirectory(prefix="qw-") as folder:
            environment = environment_in(folder, redis_url, server.url)
            tokens = json.loads(prepare("benchmarks.live_world", "small", environment=environment))
            where = "PostgreSQL and Redis"
            yield from measure_changes(environment=environment, token=tokens[0], where=where, goal_ms=10.0)
    finally:
        server.stop()


if __name__ == "__main__":
    sys.exit(main())
