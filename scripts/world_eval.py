#!/usr/bin/env python3
"""Evaluate policies over files: the name that the specification gives to the command ``qmtl-worlds``."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    importlib.import_module("qmtl_worlds.bootstrap").enter(sys.argv)
    sys.exit(importlib.import_module("qmtl_worlds.cli").main())
