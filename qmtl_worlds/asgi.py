"""The entry point of the web process: hot routes from memory, Django's WSGI handler on a bounded pool of threads."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, cast

from a2wsgi import WSGIMiddleware
from a2wsgi.wsgi_typing import WSGIApp
from django.core.wsgi import get_wsgi_application
from django.utils.module_loading import import_string

from qmtl_worlds.lanes import Lanes

if TYPE_CHECKING:
    from worlds.live.app import Live

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "qmtl_worlds.settings")

POOL_THREADS = 4


def _application() -> Live:
    wsgi = cast("WSGIApp", get_wsgi_application())
    pool: Any = WSGIMiddleware(wsgi, workers=POOL_THREADS)
    django = Lanes(wsgi, pool=pool)
    live: type[Live] = import_string("worlds.live.app.Live")  # its models can be imported from here on
    return live(django)


application = _application()
