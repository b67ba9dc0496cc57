"""The one entry point of the web process: Django's WSGI handler on a bounded pool of threads."""

from __future__ import annotations

import os
from typing import cast

from a2wsgi import WSGIMiddleware
from a2wsgi.wsgi_typing import WSGIApp
from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "qmtl_worlds.settings")

POOL_THREADS = 4

application = WSGIMiddleware(cast("WSGIApp", get_wsgi_application()), workers=POOL_THREADS)
