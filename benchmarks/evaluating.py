"""Evaluates a large world again and again from when it is told how large, and says how often when told to stop."""

from __future__ import annotations

import sys
import threading

from benchmarks.bulk_world import LAST_CLOSE, build_world
from worlds.services.authority import act_of_shell
from worlds.services.evaluations import EvaluationRequest, request_evaluation
from worlds.work.evaluate import evaluate_world

WORLD = "evaluated"


def main() -> None:
    """Build, evaluate until told to stop, and count."""
    build_world(WORLD, strategies=int(sys.stdin.readline()))
    stopping = threading.Event()
    counted: list[str] = []

    def evaluate() -> None:
        while not stopping.is_set():
            act = act_of_shell(reason="benchmark")
            run_id = f"bench-{len(counted)}"
            request_evaluation(world_id=WORLD, request=EvaluationRequest(run_id, as_of=LAST_CLOSE), act=act)
            evaluate_world(world_id=WORLD, run_id=run_id, act=act)
            counted.append(run_id)

    thread = threading.Thread(target=evaluate)
    thread.start()
    sys.stdout.write("0\n")
    sys.stdout.flush()
    sys.stdin.readline()
    stopping.set()
    thread.join()
    sys.stdout.write(f"{len(counted)}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
