from __future__ import annotations

import gc
import time
from collections.abc import Iterator, Mapping

import pytest

from qmtl_worlds.contracts.errors import PolicyInvalidError
from qmtl_worlds.policy.compiler import compile_mapping, compile_policy
from tests.unit.policy.samples import MINIMAL, with_gates, with_score

CPU_SECONDS = 0.5
"""Measured 0.12 s at worst on two quiet cores; CPU time of the one thread, so that a busy machine does not matter."""


def nested(depth: int) -> list[object]:
    value: list[object] = []
    for _ in range(depth):
        value = [value]
    return value


BOMBS = {
    "ten megabytes": "a: " + "x" * 10_000_000,
    "ten megabytes of bytes": b"a: " + b"x" * 10_000_000,
    "brackets": "[" * 65_000,
    "braces": "{" * 65_000,
    "a hundred thousand brackets": "[" * 100_000,
    "mixed brackets": "a: [" + "{b: [" * 12_000,
    "dashes": "- " * 32_000,
    "questions": "? " * 32_000,
    "indentation": "".join(" " * depth + "a:\n" for depth in range(300)),
    "laughs": "a: &a [1]\n" + "".join(f"b{n}: &b{n} [*a, *a, *a, *a]\n" for n in range(900)),
    "keys": "".join(f"k{n}: 1\n" for n in range(6_000)),
    "unknown keys": "".join(f"k{n}: 1\n" for n in range(2_400)),
    "duplicate keys": "k: 1\n" * 2_400,
    "words": "a: " + "x " * 32_000,
    "block": "a: |\n" + " x\n" * 20_000,
    "blank lines": "\n" * 65_000,
    "colons": ": " * 30_000,
    "tags": "! " * 30_000,
    "anchors": "".join(f"&a{n} " for n in range(9_000)),
    "huge version": "%YAML 1" + "1" * 5_000 + ".1\n---\na: 1",
    "huge integer": "version: " + "9" * 60_000,
    "documents": "---\na: 1\n" * 2,
    "bad escape": 'a: "\\UFFFFFFFF"',
    "half character in an escape": 'world: "\\ud800"',
    "half character": "world: \ud800",
    "NUL": "world: \0",
    "NUL in an escape": 'world: "\\0"',
    "not UTF-8": b"world: \xff",
    "UTF-16": MINIMAL.encode("utf-16"),
    "right to left": "world: \u202e",
    "conditions": with_gates("\n    or:" + "\n      - a+b+c+d+e>1" * 2_900),
    "long expressions": with_gates("\n    or:" + ("\n      - " + "x+" * 254 + "1") * 90),
    "parentheses": with_score("(" * 400),
    "signs": with_score('"' + "-" * 400 + '1"'),
    "negations": with_gates("not " * 120 + "sharpe_mid > 1"),
    "sum": with_score("sharpe_mid" + "+1" * 200),
    "too long expression": with_score("sharpe_mid" + " " * 600 + "+ 1"),
    "quoted too long expression": with_score('"' + "x" * 60_000 + '"'),
    "infinity": with_score("sharpe_mid * 1e999"),
    "power": with_score("9**9**9"),
    "attribute": with_score("sharpe_mid.__class__"),
    "full-width letters": with_score("\uff53harpe_mid"),
}


@pytest.fixture
def _own_garbage() -> Iterator[None]:
    """Leave what earlier tests made out of the garbage collector's walks: it is not the text's cost."""
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.mark.usefixtures("_own_garbage")
@pytest.mark.parametrize("text", BOMBS.values(), ids=BOMBS.keys())
def test_hostile_text_is_refused_as_an_invalid_policy_in_little_time(text: str | bytes) -> None:
    started = time.thread_time()

    with pytest.raises(PolicyInvalidError) as caught:
        compile_policy(text)

    assert time.thread_time() - started < CPU_SECONDS
    assert "".join(str(fault) for fault in caught.value.faults).isprintable()


MAPPINGS: dict[str, dict[str, object]] = {
    "deep": {"a": nested(100_000)},
    "NaN": {"a": float("nan")},
    "infinity": {"a": float("-inf")},
    "huge integer": {"a": 10**5_000},
    "large integer": {"version": 10**20},
    "no JSON": {"a": object()},
    "half character": {"a": "\ud800"},
    "NUL": {"a": "\0"},
    "large": {"a": "x" * 70_000},
    "wide": {"a": list(range(6_000))},
    "empty": {},
}


@pytest.mark.parametrize("value", MAPPINGS.values(), ids=MAPPINGS.keys())
def test_hostile_mapping_is_refused_as_an_invalid_policy(value: Mapping[str, object]) -> None:
    with pytest.raises(PolicyInvalidError) as caught:
        compile_mapping(value)

    assert {(fault.line, fault.column) for fault in caught.value.faults} == {(1, 1)}


def test_mapping_with_a_key_that_is_no_text_is_refused() -> None:
    numbered: dict[object, object] = {1: 2}

    with pytest.raises(PolicyInvalidError) as caught:
        compile_mapping({"a": numbered})

    assert [fault.code for fault in caught.value.faults] == ["bad-key"]


def test_mapping_that_holds_itself_is_refused() -> None:
    value: dict[str, object] = {}
    value["a"] = value

    with pytest.raises(PolicyInvalidError) as caught:
        compile_mapping(value)

    assert caught.value.faults[0].code == "too-deep"


def test_policy_of_too_many_metrics_is_refused() -> None:
    gates = "\n    and:" + "".join(f"\n      - sharpe_{days}d > 1" for days in range(30, 95))

    with pytest.raises(PolicyInvalidError) as caught:
        compile_policy(with_gates(gates))

    assert [fault.code for fault in caught.value.faults] == ["too-many-metrics"]


@pytest.mark.parametrize(
    ("entries", "code"),
    [("- '" + '"' * 40_000 + "'", "too-large"), ("- [" + "1," * 4_960 + "]", "too-many-nodes")],
    ids=["bytes", "values"],
)
def test_policy_whose_canonical_form_would_be_over_a_limit_is_refused(entries: str, code: str) -> None:
    with pytest.raises(PolicyInvalidError) as caught:
        compile_policy(f"{MINIMAL}tests:\n  {entries}\n")

    assert [fault.code for fault in caught.value.faults] == [code]


def test_byte_order_mark_is_no_part_of_the_policy() -> None:
    marked = compile_policy(b"\xef\xbb\xbf" + MINIMAL.encode())

    assert marked.checksum == compile_policy(MINIMAL).checksum
