from __future__ import annotations

import re
import runpy

import pytest

from qmtl_worlds.cli import main
from tests.unit.cli.files import ROOT

REFERENCE = ROOT / "docs" / "reference" / "cli.md"
HOW_TO = ROOT / "docs" / "how-to" / "evaluate-from-files.md"
EXAMPLE = ROOT / "docs" / "examples" / "evaluate_returns.py"


@pytest.mark.parametrize("command", ["validate", "lint", "diff", "evaluate", "explain"])
def test_reference_names_every_command_and_option(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([command, "--help"])

    options = set(re.findall(r"--[a-z-]+", capsys.readouterr().out)) - {"--help"}
    reference = REFERENCE.read_text(encoding="utf-8")
    assert f"`{command} " in reference
    assert {option for option in options if option not in reference} == set()


def test_python_example_runs_from_the_root_of_a_checkout(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)

    runpy.run_path(str(EXAMPLE))

    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith("2013-02-04 in: sma-20-50.AAPL|long")
    assert lines[20].startswith("donchian-20-10.AAPL|long stays active at 12 % of capital")


def test_how_to_shows_the_example_as_it_is() -> None:
    code = EXAMPLE.read_text(encoding="utf-8").replace("  # noqa: T201", "")
    shown = HOW_TO.read_text(encoding="utf-8").partition("```python\n")[2].partition("```")[0]

    assert shown
    assert code.endswith(shown)


def test_how_to_shows_commands_that_work(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    state = str(tmp_path_factory.mktemp("state") / "state.json")
    text = HOW_TO.read_text(encoding="utf-8").replace("\\\n", "").replace("state.json", state)
    commands = [
        line.split()[1:] for line in text.splitlines() if line.startswith("qmtl-worlds") and "draft" not in line
    ]

    codes = [main(command) for command in commands]

    assert codes == [0] * 5
    assert "promote  sma-5-20.GOOG|long           1   3.393  12.00 %" in capsys.readouterr().out
