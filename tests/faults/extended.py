"""Tests that take minutes run only where they are asked for."""

from __future__ import annotations

import os
from typing import Final

import pytest

EXTENDED: Final = os.environ.get("QW_TEST_EXTENDED") == "1"

only_extended: Final = pytest.mark.extended
