"""Serves the DRF view of ``drf_app`` the way that the product serves Django."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.utils.module_loading import import_string

from qmtl_worlds.wsgi_pool import Wsgi, WsgiPool

if TYPE_CHECKING:
    from worlds.live.intake import Intake

_wsgi = get_wsgi_application()
_intake: type[Intake] = import_string("worlds.live.intake.Intake")  # its models can be imported from here on
settings.ROOT_URLCONF = "benchmarks.drf_app"
application = _intake(WsgiPool(cast("Wsgi", _wsgi), threads=4))
