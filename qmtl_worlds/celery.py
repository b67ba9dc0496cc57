"""The Celery application; only worker processes and those who send tasks import it."""

from __future__ import annotations

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "qmtl_worlds.settings")

app = Celery("qmtl_worlds")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
