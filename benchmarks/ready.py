"""Sets Django up and makes all tables, on import; ``python -m benchmarks.ready MODULE`` then runs a module.

Models cannot be imported before Django is set up, so a module that imports this one must import no model before it.
"""

from __future__ import annotations

import runpy
import sys
from typing import Final

import django
from django.core.management import call_command

django.setup()
call_command("migrate", verbosity=0)

READY: Final = True

if __name__ == "__main__":
    runpy.run_module(sys.argv[1], run_name="__main__")
