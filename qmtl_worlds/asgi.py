"""The entry point of the web process: hot routes from memory, Django's WSGI handler on a bounded pool of threads."""

from __future__ import annotations

import gc
import os
from typing import TYPE_CHECKING, Final, cast

from a2wsgi.wsgi_typing import WSGIApp
from django.core.wsgi import get_wsgi_application
from django.utils.module_loading import import_string

from qmtl_worlds.lanes import Lanes
from qmtl_worlds.wsgi_pool import Wsgi, WsgiPool

if TYPE_CHECKING:
    from worlds.live.app import Live
    from worlds.live.counts import Books
    from worlds.live.intake import Intake

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "qmtl_worlds.settings")

POOL_THREADS = 4
COLLECTING: Final = (700, 10, 200)
"""The young are collected as ever, all only after 1,400,000 new ones: streams are held, and are no garbage."""


def _application() -> Live:
    wsgi = get_wsgi_application()
    intake: type[Intake] = import_string("worlds.live.intake.Intake")  # its models can be imported from here on
    live: type[Live] = import_string("worlds.live.app.Live")
    books: Books = import_string("worlds.live.counts.Books")()
    pool = WsgiPool(cast("Wsgi", wsgi), threads=POOL_THREADS)
    return live(Lanes(cast("WSGIApp", wsgi), pool=intake(pool, books.counts)), books)


application = _application()
gc.freeze()  # what was imported stays: the collector would walk all of it while streams connect, and reads would wait
gc.set_threshold(*COLLECTING)
