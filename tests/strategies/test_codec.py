from __future__ import annotations

import math
from array import array

from hypothesis import given
from hypothesis import strategies as st

from strategies import codec

maybe = st.one_of(st.none(), st.floats(0, 1e6))


@given(st.lists(st.integers(-(2**40), 2**40), min_size=1, unique=True))
def test_times_come_back_as_they_were_packed(times: list[int]) -> None:
    packed = codec.pack_times(array("q", sorted(times)))

    assert list(codec.unpack_times(packed)) == sorted(times)


@given(st.lists(maybe, min_size=1, max_size=200))
def test_optional_columns_come_back_cell_by_cell(cells: list[float | None]) -> None:
    packed = codec.pack_optional([math.nan if cell is None else cell for cell in cells])

    assert codec.unpack_optional(packed, count=len(cells)) == cells
    assert [codec.optional_cell(packed, index, count=len(cells)) for index in range(len(cells))] == cells


@given(st.lists(st.booleans(), min_size=1, max_size=200))
def test_rank_counts_the_flags_before(flags: list[bool]) -> None:
    bitmap = codec.pack_bits(flags)

    assert [codec.rank(bitmap, index) for index in range(len(flags))] == [sum(flags[:i]) for i in range(len(flags))]


def test_a_year_of_daily_times_takes_little_room() -> None:
    assert len(codec.pack_times(array("q", range(0, 365 * 86_400, 86_400)))) < 60
