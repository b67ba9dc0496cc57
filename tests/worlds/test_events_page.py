from __future__ import annotations

import ast
import re
from pathlib import Path

from worlds.services.event_log import RESTORED

ROOT = Path(__file__).parent.parent.parent
TELLING = {"announce", "VisibleChange"}


def announced(source: Path) -> set[str]:
    """Return the kinds that a file announces by name."""
    calls = [node for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]
    ours = [call for call in calls if isinstance(call.func, ast.Name) and call.func.id in TELLING]
    kinds = [word.value for call in ours for word in call.keywords if word.arg == "kind"]
    texts = [node.value for kind in kinds for node in ast.walk(kind) if isinstance(node, ast.Constant)]
    return {text for text in texts if isinstance(text, str)}


def test_reference_lists_every_type_of_event() -> None:
    page = (ROOT / "docs" / "reference" / "events.md").read_text(encoding="utf-8").split("## Types")[1]

    used = {kind for source in (ROOT / "worlds").rglob("*.py") for kind in announced(source)}

    assert set(re.findall(r"`([a-z_]+)`", page)) - {"since"} == used | {RESTORED, "alert"}
