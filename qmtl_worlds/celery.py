"""The Celery application; only worker processes and those who send tasks import it."""

from __future__ import annotations

import gc
import os

from celery import Celery
from celery.signals import worker_before_create_process

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "qmtl_worlds.settings")

app = Celery("qmtl_worlds")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@worker_before_create_process.connect(dispatch_uid="qmtl_worlds.leave_out_imports")
def leave_out_imports(**_: object) -> None:
    """Keep the collector from walking what was imported, which stays, in the middle of a task."""
    gc.freeze()
