"""The one entry point of the web process: Django's WSGI handler on a bounded pool of threads."""

from __future__ import annotations

from typing import cast

from a2wsgi import WSGIMiddleware
from a2wsgi.wsgi_typing import WSGIApp

from qmtl_worlds.wsgi import application as django_application

POOL_THREADS = 4

application = WSGIMiddleware(cast("WSGIApp", django_application), workers=POOL_THREADS)
