from __future__ import annotations

import re
from pathlib import Path

from tests.architecture.source import ROOT, files

BINARY = frozenset({".gz", ".ico", ".jpg", ".png", ".sqlite3", ".woff2", ".zip"})
# In pieces, so that this file does not name what it looks for.
REGISTRY_HOSTS = (
    "py" + "pi.org",
    "pythonhosted" + ".org",
    "registry.npm" + "js.org",
    "npm" + "js.com",
    "deb.deb" + "ian.org",
    "crates" + ".io",
    "proxy.go" + "lang.org",
)


def texts() -> list[tuple[str, str]]:
    readable = [path for path in files() if path.suffix not in BINARY]
    return [
        (path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8", errors="replace")) for path in readable
    ]


def test_no_file_names_a_package_registry() -> None:
    naming = [name for name, text in texts() if any(host in text for host in REGISTRY_HOSTS)]

    assert naming == []


def test_no_file_names_a_place_of_this_machine() -> None:
    places = {f"{ROOT.parent}/", f"{Path.home()}/."} - {"//", "/."}
    place = re.compile("|".join(re.escape(name) for name in sorted(places)))

    naming = [name for name, text in texts() if places and place.search(text)]

    assert naming == []


def test_locks_name_no_host_and_pin_every_hash() -> None:
    for lock in ("requirements.lock", "requirements-test.lock"):
        text = (ROOT / lock).read_text(encoding="utf-8")

        pins = re.findall(r"^([a-z0-9._-]+)==\S+ [^\n]*\\\n    --hash=sha256:[0-9a-f]{64}", text, flags=re.MULTILINE)

        assert "://" not in text
        assert len(pins) == text.count("==") - text.count("== '")
