"""HTTP answers out of bytes, however they are cut."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmtl_worlds.sdk.http_text import MAX_HEAD_BYTES, Body, Head, TextError, read_head

CHUNKED = b"5\r\nhello\r\n1;note=x\r\n,\r\nA\r\n 0123\r\n678\r\n0\r\nTrailer: x\r\n\r\n"


def test_head_gives_status_and_headers_by_lower_case_names() -> None:
    head = read_head(b'HTTP/1.1 200 OK\r\nLease-Ms: 5000\r\nETag:"a:b"\r\n\r\n')

    assert head == Head(200, {"lease-ms": "5000", "etag": '"a:b"'})


@pytest.mark.parametrize("data", [b"", b"200 OK\r\n\r\n", b"HTTP/1.1\r\n\r\n", b"HTTP/1.1 abc\r\n\r\n", b"\xff\xfe"])
def test_head_that_is_no_http_is_refused(data: bytes) -> None:
    with pytest.raises(TextError):
        read_head(data)


@given(st.lists(st.integers(0, len(CHUNKED)), max_size=12))
def test_chunks_give_the_same_body_however_they_are_cut(cuts: list[int]) -> None:
    body = Body(Head(200, {"transfer-encoding": "chunked"}))

    text = b"".join(body.feed(CHUNKED[first:last]) for first, last in pairwise([0, *sorted(cuts), len(CHUNKED)]))

    assert (text, body.is_over) == (b"hello, 0123\r\n678", True)


@pytest.mark.parametrize(
    "data", [b"x\r\n", b"\r\n", b"-1\r\n", b"123456789\r\n", b"1\r\nab\r\n", b"0" * MAX_HEAD_BYTES * 2]
)
def test_chunks_that_are_malformed_are_refused(data: bytes) -> None:
    with pytest.raises(TextError):
        Body(Head(200, {"transfer-encoding": "Chunked"})).feed(data)


def test_body_of_known_length_is_over_by_itself_and_holds_no_more() -> None:
    body = Body(Head(200, {"content-length": "5"}))

    parts = [body.feed(b"hel"), body.feed(b"lo, more")]

    assert (parts, body.is_over, body.needs_end) == ([b"hel", b"lo"], True, False)


def test_body_of_unknown_length_ends_with_the_connection() -> None:
    body = Body(Head(200, {}))

    assert (body.feed(b"hello"), body.is_over, body.needs_end) == (b"hello", False, True)


def test_answer_without_content_has_no_body() -> None:
    assert Body(Head(304, {})).is_over


def test_length_that_is_no_number_is_refused() -> None:
    with pytest.raises(TextError):
        Body(Head(200, {"content-length": "-5"}))
