#!/usr/bin/env python3
"""Run a command of the server; the first run prepares the Python environment by itself."""

from __future__ import annotations

import importlib
import os
import sys

from qmtl_worlds import bootstrap

if __name__ == "__main__":
    bootstrap.enter(sys.argv)
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "qmtl_worlds.settings")
    importlib.import_module("django.core.management").execute_from_command_line(sys.argv)
