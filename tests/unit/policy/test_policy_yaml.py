from __future__ import annotations

import pytest

from qmtl_worlds.policy.yaml_scalars import Scalar, resolve_plain
from qmtl_worlds.policy.yaml_tree import read_yaml


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("~", None),
        ("null", None),
        ("true", True),
        ("FALSE", False),
        ("on", "on"),
        ("no", "no"),
        ("12", 12),
        ("-3", -3),
        ("+3", 3),
        ("012", 12),
        ("0o17", 15),
        ("0x1F", 31),
        ("1_000", "1_000"),
        ("1:30", "1:30"),
        ("2026-01-01", "2026-01-01"),
        ("0.60", 0.6),
        (".5", 0.5),
        ("1.", 1.0),
        ("1e-3", 0.001),
        ("1E3", 1000.0),
        (".", "."),
        ("5m", "5m"),
        ("=", "="),
    ],
)
def test_plain_scalar_means_what_yaml_1_2_says(text: str, value: Scalar) -> None:
    resolved = resolve_plain(text)

    assert (resolved, type(resolved)) == (value, type(value))


@pytest.mark.parametrize("text", [".nan", ".NaN", ".inf", "-.INF", "1e999", "-1e999", "9" * 33, "0x" + "f" * 16])
def test_number_that_no_policy_can_use_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        resolve_plain(text)


def test_quoted_scalar_is_text() -> None:
    assert read_yaml("a: '1'\nb: \"true\"\nc: |\n  1\n").value == {"a": "1", "b": "true", "c": "1\n"}


def test_every_key_and_value_has_its_place() -> None:
    text = "a:\n  b: [1, 'two']\n"

    tree = read_yaml(text)

    spans = {path: (text[place.key], text[place.start : place.end]) for path, place in tree.places.items()}
    assert spans[("a",)][0] == "a"
    assert spans[("a", "b")] == ("b", "[")
    assert spans[("a", "b", 0)] == ("1", "1")
    assert spans[("a", "b", 1)] == ("'", "'two'")


def test_duplicate_key_keeps_the_first_value() -> None:
    tree = read_yaml("a: {b: 1, b: {c: 2}, d: 3}\n")

    assert tree.value == {"a": {"b": 1, "d": 3}}
    assert [fault.code for fault in tree.faults] == ["duplicate-key"]


def test_value_of_an_unusable_key_is_skipped_whole() -> None:
    tree = read_yaml("? {x: [1, 2]}\n: {y: [3]}\nb: 1\n")

    assert tree.value == {"b": 1}
    assert [fault.code for fault in tree.faults] == ["bad-key"]


def test_alias_breaks_its_path_and_nothing_else() -> None:
    tree = read_yaml("a: &x 1\nb: *x\n")

    assert tree.value == {"a": 1, "b": None}
    assert tree.is_broken(("b",))
    assert not tree.is_broken(("a",))
