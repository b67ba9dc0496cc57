"""Serves the DRF view of ``drf_app`` the way that the product serves Django."""

from __future__ import annotations

from typing import cast

from django.conf import settings
from django.core.wsgi import get_wsgi_application

from qmtl_worlds.wsgi_pool import Wsgi, WsgiPool
from worlds.live.intake import Intake

_wsgi = get_wsgi_application()
settings.ROOT_URLCONF = "benchmarks.drf_app"
application = Intake(WsgiPool(cast("Wsgi", _wsgi), threads=4))
