from __future__ import annotations

import stat
from pathlib import Path

import pytest

from qmtl_worlds import env

NAME = "QW_TEST_VALUE"


@pytest.mark.parametrize(
    ("value", "meant"), [("1", True), ("YES", True), (" on ", True), ("0", False), ("False", False)]
)
def test_flag_reads_what_people_write(monkeypatch: pytest.MonkeyPatch, value: str, meant: bool) -> None:
    monkeypatch.setenv(NAME, value)

    assert env.flag(NAME, default=not meant) is meant


def test_empty_value_counts_as_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(NAME, "  ")

    assert env.flag(NAME, default=True) is True
    assert env.integer(NAME, 7) == 7
    assert env.items(NAME, ("a", "b")) == ["a", "b"]


def test_flag_that_is_neither_stops_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(NAME, "maybe")

    with pytest.raises(env.SettingError, match=f"{NAME}.*maybe"):
        env.flag(NAME, default=False)


@pytest.mark.parametrize("value", ["ten", "1.5", "4", "11"])
def test_integer_out_of_range_or_shape_stops_the_start(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv(NAME, value)

    with pytest.raises(env.SettingError, match=NAME):
        env.integer(NAME, 5, least=5, most=10)


def test_choice_outside_its_words_stops_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(NAME, "xml")

    with pytest.raises(env.SettingError, match="json, console"):
        env.choice(NAME, "json", among=("json", "console"))


def test_path_is_absolute_or_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    assert env.path(NAME) is None

    monkeypatch.setenv(NAME, "key.pem")
    assert env.path(NAME) == tmp_path / "key.pem"


def test_secret_comes_from_a_file_without_its_line_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "secret"
    file.write_text("hidden\n", encoding="utf-8")
    monkeypatch.setenv(f"{NAME}_FILE", str(file))

    assert env.secret(NAME) == "hidden"


def test_secret_given_twice_stops_the_start_without_showing_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(NAME, "hidden")
    monkeypatch.setenv(f"{NAME}_FILE", "/nowhere")

    with pytest.raises(env.SettingError) as caught:
        env.secret(NAME)

    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize("content", [None, ""])
def test_secret_file_that_is_missing_or_empty_stops_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str | None
) -> None:
    file = tmp_path / "secret"
    if content is not None:
        file.write_text(content, encoding="utf-8")
    monkeypatch.setenv(f"{NAME}_FILE", str(file))

    with pytest.raises(env.SettingError, match=f"{NAME}_FILE"):
        env.secret(NAME)


def test_generated_secret_is_private_and_stays(tmp_path: Path) -> None:
    file = tmp_path / "secret_key"

    first, second = env.secret_or_generated(NAME, file), env.secret_or_generated(NAME, file)

    assert first == second
    assert len(first) >= 50
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [file]


def test_database_url_is_read_with_its_escapes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(NAME, "postgres://us%40er:p%2Fw@db.example:6432/worlds?sslmode=require")

    address = env.database(NAME)

    assert address == env.DatabaseAddress(
        name="worlds", user="us@er", password="p/w", host="db.example", port=6432, options={"sslmode": "require"}
    )
    assert "p/w" not in repr(address)


@pytest.mark.parametrize("url", ["mysql://a@b/c", "postgres://a@b", "postgres://a@b:port/c", "worlds.sqlite3"])
def test_database_url_that_is_none_stops_the_start(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv(NAME, url)

    with pytest.raises(env.SettingError, match=NAME):
        env.database(NAME)


def test_redis_urls_name_a_database_for_each_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(NAME, "redis://:pw@redis.example:6379/")
    by_port, by_socket = env.redis(NAME, ""), env.redis("QW_TEST_ABSENT", "unix:///run/valkey.sock")

    urls = [address.for_client(2) for address in (by_port, by_socket)]
    broker_urls = [address.for_celery(1) for address in (by_port, by_socket)]

    assert urls == ["redis://:pw@redis.example:6379/2", "unix:///run/valkey.sock?db=2"]
    assert broker_urls == ["redis://:pw@redis.example:6379/1", "redis+socket:///run/valkey.sock?virtual_host=1"]


@pytest.mark.parametrize("url", ["redis://host/3", "unix://", "http://host", "unix:///a.sock?db=1", "redis://h:x"])
def test_redis_url_that_says_too_much_or_too_little_stops_the_start(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv(NAME, url)

    with pytest.raises(env.SettingError, match=NAME):
        env.redis(NAME, "")
