"""The processes that carry runs on keep what they imported out of the collector's walks."""

from __future__ import annotations

import gc

from celery.signals import worker_before_create_process

import qmtl_worlds.celery

IMPORTED = 10_000
"""Django alone is more objects than that."""


def test_worker_is_forked_with_its_imports_out_of_the_walks() -> None:
    assert gc.get_freeze_count() < IMPORTED
    try:
        worker_before_create_process.send(sender=qmtl_worlds.celery.app)

        assert gc.get_freeze_count() > IMPORTED
    finally:
        gc.unfreeze()
