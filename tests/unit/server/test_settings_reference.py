from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent.parent


def test_reference_page_lists_exactly_the_variables_that_are_read() -> None:
    read = re.findall(r'env\.[a-z_]+\(\s*"([A-Z_]+)"', (ROOT / "qmtl_worlds" / "settings.py").read_text("utf-8"))
    page = (ROOT / "docs" / "reference" / "settings.md").read_text(encoding="utf-8").split("Read outside")[0]

    listed = re.findall(r"`([A-Z][A-Z_]+)`", "\n".join(line.split("|")[1] for line in page.splitlines() if "|" in line))

    twins = {f"{name}_FILE" for name in read}
    assert set(listed) - twins == set(read)
