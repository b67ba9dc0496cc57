from __future__ import annotations

import runpy
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from qmtl_worlds.contracts.errors import InputInvalidError
from qmtl_worlds.offline.returns_file import ReturnRows, read_returns
from tests.unit.cli.files import EXAMPLE

HEADER = "ts,strategy_id,side,ret"


def read(folder: Path, *rows: str, header: str = HEADER, calendar: str = "24/7") -> ReturnRows:
    path = folder / "returns.csv"
    path.write_text("\n".join([header, *rows]), encoding="utf-8")
    return read_returns(path, calendar=calendar)


def test_columns_come_in_any_order_and_optional_cells_may_be_empty(tmp_path: Path) -> None:
    rows = read(
        tmp_path,
        "long,0.5,1,s1,2026-03-02T00:00:00Z,tech,",
        "long,0.25,,s1,2026-03-03T00:00:00Z,,3",
        header="side,ret,leverage,strategy_id,ts,sector,trades",
    )

    bars = rows.bars(["s1|long"], as_of=2**40)

    assert rows.sectors == {"s1|long": "tech"}
    assert bars.returns.tolist() == [[0.5, 0.25]]
    assert bars.leverage is not None
    np.testing.assert_array_equal(bars.leverage, [[1.0, np.nan]])
    np.testing.assert_array_equal(bars.trades, [[np.nan, 3.0]])
    assert bars.turnover is None


def test_instances_may_be_mixed_and_what_has_no_bar_is_empty(tmp_path: Path) -> None:
    rows = read(
        tmp_path,
        "2026-03-02T00:00:00Z,b,long,0.1",
        "2026-03-03T00:00:00Z,a,short,0.2",
        "2026-03-04T00:00:00Z,b,long,0.3",
    )

    bars = rows.bars(["a|short", "b|long", "c|long"], as_of=int(rows.last.timestamp()))

    gap = np.nan
    np.testing.assert_array_equal(bars.returns, [[gap, 0.2, gap], [0.1, gap, 0.3], [gap, gap, gap]])
    assert rows.keys == ("a|short", "b|long")


def test_date_is_the_close_of_that_session_in_summer_and_winter(tmp_path: Path) -> None:
    winter = read(tmp_path, "2013-03-01,s1,long,0", calendar="XNYS")
    summer = read(tmp_path, "2013-07-01,s1,long,0", calendar="XNYS")

    assert winter.last == datetime(2013, 3, 1, 21, tzinfo=UTC)
    assert summer.last == datetime(2013, 7, 1, 20, tzinfo=UTC)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("2026-03-01T00:00:00Z,s1,long", "has 3 cells where the header has 4"),
        ("2026-03-01T00:00:00Z,s1,long,0,0", "has 5 cells where the header has 4"),
        ("2026-03-01T00:00:00,s1,long,0", "time 2026-03-01T00:00:00 has no offset; add Z for UTC"),
        ("2026-03-01T00:00:00.5Z,s1,long,0", "ts 2026-03-01T00:00:00.5Z is not on a whole second"),
        ("yesterday,s1,long,0", "Invalid isoformat string: 'yesterday'"),
        ("2026-02-01T00:00:00Z,s1,long,0", "ts 2026-02-01T00:00:00Z does not come after the bar before of s1|long"),
        ("2026-03-01T00:00:00Z,s1,both,0", "side: must be long or short"),
        ("2026-03-01T00:00:00Z,s 1,long,0", "strategy_id: must match"),
        ("2026-03-01T00:00:00Z,s1,long,", "ret '' is no number"),
        ("2026-03-01T00:00:00Z,s1,long,nan", "ret must be finite and at least -1, it is nan"),
        ("2026-03-01T00:00:00Z,s1,long,inf", "ret must be finite and at least -1, it is inf"),
        ("2026-03-01T00:00:00Z,s1,long,-1.01", "ret must be finite and at least -1, it is -1.01"),
    ],
)
def test_row_that_cannot_be_used_is_named_by_its_line(tmp_path: Path, row: str, reason: str) -> None:
    with pytest.raises(InputInvalidError) as refused:
        read(tmp_path, "2026-02-01T00:00:00Z,s1,long,0.1", row)

    assert str(refused.value).startswith(f"returns.csv line 3: {reason}")
    assert refused.value.facts["line"] == 3


def test_sector_of_an_instance_cannot_change(tmp_path: Path) -> None:
    with pytest.raises(InputInvalidError, match=r"line 3: s1\|long was in sector 'tech' before, here in 'energy'"):
        read(tmp_path, "2026-03-01,s1,long,0,tech", "2026-03-02,s1,long,0,energy", header=f"{HEADER},sector")


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ("ts,strategy_id,side,ret,leverge", "unknown column 'leverge'; did you mean 'leverage'?"),
        ("ts,side", "the header lacks strategy_id, ret"),
        ("ts,strategy_id,side,ret,ret", "the header names a column twice"),
    ],
)
def test_header_that_cannot_be_used_is_refused(tmp_path: Path, header: str, reason: str) -> None:
    with pytest.raises(InputInvalidError) as refused:
        read(tmp_path, header=header)

    assert str(refused.value) == f"returns.csv line 1: {reason}."


@pytest.mark.parametrize("content", [b"", b"ts,strategy_id,side,ret\n", b"\xff\xfe\x00", b"\x1f\x8b\x08\x00", b'ts,"'])
def test_file_without_a_bar_or_without_text_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "returns.csv"
    path.write_bytes(content)

    with pytest.raises(InputInvalidError):
        read_returns(path)


def test_text_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "returns.csv"
    path.write_bytes(b"\xef\xbb\xbf" + f"{HEADER}\r\n2026-03-01,s1,long,0.5\r\n".encode())

    assert read_returns(path).ret.tolist() == [0.5]


@pytest.mark.slow
def test_example_is_what_its_command_makes() -> None:
    maker = runpy.run_path(str(EXAMPLE.with_name("make_returns.py")))

    rows = read_returns(EXAMPLE, calendar="XNYS")

    made = [line.split(",") for line in maker["lines"]()][1:]
    assert rows.ret.tolist() == [float(row[3]) for row in made]
    assert len(rows.keys) == 40
