from __future__ import annotations

import re

import pytest
from django.conf import settings

from audit.events import KINDS, check_kind

PAGE = settings.BASE_DIR / "docs" / "reference" / "audit-events.md"


def test_kinds_are_dotted_and_say_when_they_are_written() -> None:
    assert all(re.fullmatch(r"[a-z]+\.[a-z]+(_[a-z]+)*", kind) for kind in KINDS)
    assert all(meaning[0].isupper() and meaning.endswith(".") for meaning in KINDS.values())


def test_reference_page_lists_every_kind_with_its_line() -> None:
    rows = dict(
        re.findall(r"^\| `([a-z]+\.[a-z_]+)` \| (.+) \|$", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    )

    assert rows == dict(KINDS)


def test_unregistered_kind_is_refused() -> None:
    assert check_kind("world.created") == "world.created"
    with pytest.raises(ValueError, match="not registered"):
        check_kind("world.exploded")


def test_kinds_that_the_product_records_are_registered() -> None:
    sources = [path for app in ("worlds", "strategies", "audit") for path in (settings.BASE_DIR / app).rglob("*.py")]
    calls = re.compile(r"\brecord\((?:[^()]|\([^()]*\))*?kind=(?:\"([^\"]+)\")", flags=re.DOTALL)

    used = {kind for path in sources for kind in calls.findall(path.read_text(encoding="utf-8"))}

    assert used
    assert used - set(KINDS) == set()
