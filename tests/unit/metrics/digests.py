from __future__ import annotations

import hashlib

import numpy as np

from qmtl_worlds.metrics.correlation import CorrelationScreen
from tests.unit.metrics.panels import measure, random_panel


def digest_of_everything() -> str:
    """Hash every metric and correlation of two panels, one of them with gaps."""
    digest = hashlib.sha256()
    for gaps in (0.0, 0.2):
        panel = random_panel(300, 255, gaps=gaps)
        for name, column in measure(panel).items():
            digest.update(name.encode() + column.value.tobytes() + column.status.tobytes())
        screen = CorrelationScreen(panel, as_of=int(panel.closes[-1]), cap=0.05)
        rows = np.arange(300)
        pairs = screen.conflicts(rows)
        digest.update(pairs.first.tobytes() + pairs.second.tobytes() + pairs.unknown.tobytes())
        digest.update(screen.rho(rows, rows[::-1]).tobytes())
    return digest.hexdigest()
