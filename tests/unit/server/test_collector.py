"""The processes that carry runs on keep what they imported out of the collector's walks."""

from __future__ import annotations

import gc

from celery.signals import worker_before_create_process

import qmtl_worlds.celery


def test_worker_is_forked_with_what_there_is_out_of_the_walks() -> None:
    made: list[list[int]] = [[] for _ in range(1_000)]
    before = gc.get_freeze_count()
    try:
        worker_before_create_process.send(sender=qmtl_worlds.celery.app)

        assert gc.get_freeze_count() - before >= len(made)
    finally:
        gc.unfreeze()
