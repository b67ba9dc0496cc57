from __future__ import annotations

import json
import re
from pathlib import Path

from qmtl_worlds.contracts.errors import WorldsError
from worlds.api.errors import HTTP_CODES, status_of

ROOT = Path(__file__).parent.parent.parent
METHODS = {"get", "post", "put", "patch", "delete"}


def page(name: str) -> str:
    return (ROOT / "docs" / "reference" / name).read_text(encoding="utf-8")


def below(kind: type[WorldsError]) -> list[type[WorldsError]]:
    return [one for child in kind.__subclasses__() for one in [child, *below(child)]]


def test_reference_lists_every_route_and_no_other() -> None:
    document = json.loads((Path(__file__).parent / "openapi.json").read_text(encoding="utf-8"))

    routes = {
        f"{method.upper()} {path}"
        for path, methods in document["paths"].items()
        for method in methods
        if method in METHODS
    }

    assert set(re.findall(r"^\| `([A-Z]+ /\S*)` \|", page("api.md"), flags=re.MULTILINE)) == routes


def test_reference_lists_every_code_with_its_status() -> None:
    listed = dict(re.findall(r"^\| `([a-z-]+)` \| (\d+) \|", page("errors.md"), flags=re.MULTILINE))

    ours = {kind.code: str(int(status_of(kind))) for kind in below(WorldsError)}
    http = {code: str(int(status)) for status, code in HTTP_CODES.items()}
    assert listed == ours | http
