"""Run a function in threads that start at the same moment, each with a connection of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

from django.db import connections

Answer = TypeVar("Answer")


def together(works: Sequence[Callable[[], Answer]]) -> list[Answer | Exception]:
    """Return what each of ``works`` returned or raised, in their order."""
    barrier = threading.Barrier(len(works))
    answers: list[Answer | Exception | None] = [None] * len(works)

    def run(place: int, work: Callable[[], Answer]) -> None:
        try:
            barrier.wait(timeout=30)
            answers[place] = work()
        except Exception as error:  # noqa: BLE001 - what a thread raised is an answer
            answers[place] = error
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run, args=(place, work)) for place, work in enumerate(works)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    return [answer for answer in answers if answer is not None]
