"""The SDK and the alphas work where nothing but the standard library can be imported."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BLOCKED = """
import sys
from importlib.abc import MetaPathFinder

class OnlyStandardLibrary(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top not in sys.stdlib_module_names and top not in {"qmtl_worlds", "strategies"}:
            raise ImportError(f"{name} is not there")

sys.meta_path.insert(0, OnlyStandardLibrary())
"""


@pytest.mark.parametrize(
    "modules",
    [
        sorted(path.stem for path in (ROOT / "qmtl_worlds" / "sdk").glob("[a-z]*.py")),
        sorted(path.stem for path in (ROOT / "strategies" / "alpha").glob("[a-z]*.py")),
    ],
    ids=["sdk", "alpha"],
)
def test_package_imports_with_the_standard_library_alone(modules: list[str]) -> None:
    package = "qmtl_worlds.sdk" if "gate" in modules else "strategies.alpha"
    imports = "\n".join(f"import {package}.{module}" for module in modules)

    run = subprocess.run(
        [
            sys.executable,
            "-I",
            "-c",
            f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{BLOCKED}\n{imports}\nprint('ok')",
        ],
        capture_output=True,
        text=True,
        check=False,
    )

    assert (run.stdout.strip(), run.stderr) == ("ok", "")
