from __future__ import annotations

import json
from io import StringIO
from pathlib import Path

from django.core.management import call_command


def verify(*arguments: str) -> tuple[int, str]:
    """Run ``audit_verify`` and return its exit code and its output."""
    output = StringIO()
    try:
        call_command("audit_verify", *arguments, stdout=output, stderr=StringIO())
    except SystemExit as stopped:
        return int(stopped.code or 0), output.getvalue()
    return 0, output.getvalue()


def first_bad(*arguments: str) -> tuple[str, int, str]:
    """Run ``audit_verify --json``, which must fail, and return chain, row and code of what it names first."""
    code, output = verify("--json", *arguments)
    report = json.loads(output)
    assert (code, report["ok"]) == (1, False)
    return report["first"]["chain"], report["first"]["seq"], report["first"]["code"]


def export(path: Path, *arguments: str) -> Path:
    """Write an export to ``path`` and return it."""
    call_command("audit_export", "--output", str(path), *arguments)
    return path
