"""Tests that take minutes run only where they are asked for."""

from __future__ import annotations

import os
from typing import Final

import pytest

EXTENDED: Final = os.environ.get("QW_TEST_EXTENDED") == "1"

only_extended: Final = pytest.mark.extended

longer_when_extended: Final = pytest.mark.extended if EXTENDED else pytest.mark.slow
"""For a test that belongs to both, and does more in the long one."""
