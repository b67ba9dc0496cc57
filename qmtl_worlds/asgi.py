"""The entry point of the web process: hot routes from memory, Django's WSGI handler on a bounded pool of threads."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, cast

from a2wsgi import WSGIMiddleware
from a2wsgi.wsgi_typing import WSGIApp
from django.core.wsgi import get_wsgi_application
from django.utils.module_loading import import_string

if TYPE_CHECKING:
    from worlds.live.app import Live

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "qmtl_worlds.settings")

POOL_THREADS = 4


def _application() -> Live:
    django: Any = WSGIMiddleware(cast("WSGIApp", get_wsgi_application()), workers=POOL_THREADS)
    live: type[Live] = import_string("worlds.live.app.Live")  # its models can be imported from here on
    return live(django)


application = _application()
