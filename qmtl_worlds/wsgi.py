"""Django's own handler, which serves everything but the hot path."""

from __future__ import annotations

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "qmtl_worlds.settings")

application = get_wsgi_application()
