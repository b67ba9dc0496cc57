"""What somebody sends who means no good, or whose program is broken: a clear 4xx, and nothing is stored."""

from __future__ import annotations

import json

import pytest

from audit.models import AuditEvent
from strategies.models import StrategyInstance
from tests.api.callers import Caller
from tests.worlds.factories import POLICY
from worlds.models import PolicyVersion, World

pytestmark = pytest.mark.django_db

TEXT = POLICY.format(world="w1", version=2)
BOMB = "a: &a [x, x, x, x, x, x, x, x]\n" + "".join(
    f"{chr(98 + level)}: &{chr(98 + level)} [{', '.join([f'*{chr(97 + level)}'] * 8)}]\n" for level in range(8)
)


@pytest.fixture
def stored(world: World, gateway: Caller) -> int:
    """How many rows of audit there are before anything hostile comes."""
    return AuditEvent.objects.count()


def nothing_changed(gateway: Caller, stored: int) -> bool:
    in_force = gateway.get("/worlds/w1/policies").json()["in_force"]
    return (in_force, PolicyVersion.objects.count(), AuditEvent.objects.count()) == (1, 1, stored)


@pytest.mark.parametrize(
    ("policy", "status"),
    [
        (TEXT + "#" * 10_000_000, 413),
        (BOMB, 422),
        ("[" * 50_000, 422),
        ("a:\n" + "".join(" " * level + "- a:\n" for level in range(1, 300)), 422),
        (TEXT.replace('"sharpe_30d"', '"' + "-" * 400 + 'sharpe_30d"'), 422),
        (TEXT.replace('"sharpe_30d"', '"' + "sharpe_30d + " * 5_000 + '1"'), 422),
        (TEXT.replace('"sharpe_30d"', '"9**9**9**9"'), 422),
        (TEXT.replace('"sharpe_30d"', "\"__import__('os')\""), 422),
        (TEXT.replace("total: 3", "total: .nan"), 422),
        (TEXT.replace("long: 0.6", "long: .inf"), 422),
        (TEXT.replace("total: 3", "total: 1e999"), 422),
        (TEXT.replace("total: 3", "total: 3, total: 9"), 422),
        (TEXT + 'name: "a\\0b"\n', 422),
        (TEXT + "\0", 422),
        (TEXT + "name: !!python/object/apply:os.system [ls]\n", 422),
        ("- just\n- a list\n", 422),
        ("\ufeff" + "\u202e", 422),
    ],
)
def test_hostile_policy_is_refused_and_the_old_version_stays(
    stored: int, gateway: Caller, policy: str, status: int
) -> None:
    reply = gateway.send("POST", "/worlds/w1/policies", policy.encode(), "application/yaml")

    assert reply.status == status, reply.content[:500]
    assert reply.code in {"policy-invalid", "body-too-large"}
    assert len(reply.content) < 100_000
    assert nothing_changed(gateway, stored)


@pytest.mark.parametrize("policy", [b"\xff\xfe", b"world: \xed\xa0\x80", TEXT.encode("utf-16")])
def test_policy_that_is_no_utf_8_is_refused(stored: int, gateway: Caller, policy: bytes) -> None:
    reply = gateway.send("POST", "/worlds/w1/policies", policy, "application/yaml")

    assert (reply.status, reply.code) == (422, "policy-invalid")
    assert nothing_changed(gateway, stored)


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b'{"yaml": "a\\u0000b"}', 422, "input-invalid"),
        (b'{"yaml": "\\ud800"}', 400, "malformed-request"),
        (b'{"yaml": "\xff"}', 400, "malformed-request"),
        (b'{"policy": {"a": NaN}}', 400, "malformed-request"),
        (b'{"policy": {"a": Infinity}}', 400, "malformed-request"),
        (b'{"policy": {"a": 1e999}}', 422, "input-invalid"),
        (b'{"policy": ' + b'{"a":' * 100_000 + b"1" + b"}" * 100_000 + b"}", 413, "body-too-large"),
        (b'{"policy": ' + b'{"a":' * 500 + b"1" + b"}" * 500 + b"}", 400, "malformed-request"),
        (b'{"policy": ' + b"[" * 100_000, 400, "malformed-request"),
        (b'{"policy": {}, "yaml": ""}', 422, "input-invalid"),
        (b'{"policy": {"world": ' + b"9" * 5_000 + b"}}", 422, "input-invalid"),
        (b"{}", 422, "input-invalid"),
        (b"[]", 422, "input-invalid"),
        (b"null", 422, "input-invalid"),
        (b"", 422, "input-invalid"),
        (b"{", 400, "malformed-request"),
    ],
)
def test_hostile_json_is_refused_and_the_old_version_stays(
    stored: int, gateway: Caller, body: bytes, status: int, code: str
) -> None:
    reply = gateway.send("POST", "/worlds/w1/policies", body)

    assert (reply.status, reply.code) == (status, code), reply.content[:300]
    assert nothing_changed(gateway, stored)


@pytest.mark.parametrize("content_type", ["text/plain", "application/xml", "multipart/form-data; boundary=x", ""])
def test_body_of_another_type_is_refused(stored: int, gateway: Caller, content_type: str) -> None:
    reply = gateway.send("POST", "/worlds/w1/policies", TEXT.encode(), content_type)

    assert (reply.status, reply.code) == (415, "unsupported-media-type")
    assert nothing_changed(gateway, stored)


@pytest.mark.parametrize(
    "bad_id",
    ["", " ", "-x", "a" * 129, "a/b", "a|long", "a b", "ä", "a\0", "a\nb", "../etc", "%00", "<script>", "a\u200b"],
)
def test_id_out_of_pattern_is_refused_in_a_body(stored: int, gateway: Caller, bad_id: str) -> None:
    count = StrategyInstance.objects.count()

    for strategies in ([bad_id], [{"strategy_id": bad_id}]):
        reply = gateway.post("/worlds/w1/bindings", {"strategies": strategies})

        assert reply.status == 422, (strategies, reply.content)
    assert gateway.post("/worlds/w1/apply", {"run_id": bad_id}).status == 422
    assert gateway.post("/worlds", {"id": bad_id}).status == 422
    assert StrategyInstance.objects.count() == count
    assert nothing_changed(gateway, stored)


@pytest.mark.parametrize("bad_id", ["%00", "-x", "a%00b", "%C3%A4", "a%20b", "%ED%A0%80", "%FF", "a" * 200, "a%0A"])
def test_id_out_of_pattern_is_refused_in_a_path(world: World, gateway: Caller, bad_id: str) -> None:
    for path in (
        f"/worlds/{bad_id}",
        f"/worlds/{bad_id}/activation",
        f"/worlds/w1/apply/{bad_id}",
        f"/worlds/w1/runs/{bad_id}",
        f"/worlds/w1/strategies/{bad_id}/runs",
        f"/worlds/w1/policies/{bad_id}",
        f"/worlds/w1/generations/{bad_id}",
    ):
        assert gateway.get(path).status == 422, path


@pytest.mark.parametrize("value", ["%00", "a%00", "%ED%A0%80", "%FF", "%0A", "%E2%80%AE"])
def test_query_with_unprintable_characters_is_refused(world: World, gateway: Caller, value: str) -> None:
    for path in (
        f"/worlds?owner={value}",
        f"/worlds/w1/audit?kind={value}",
        f"/worlds/w1/audit?actor={value}",
        f"/worlds/w1/activation?strategy_id={value}",
        f"/worlds?cursor={value}",
    ):
        reply = gateway.get(path)

        assert reply.status == 422 or (value in {"%FF", "%ED%A0%80"} and reply.status == 200), (path, reply.content)


@pytest.mark.parametrize(
    "members",
    [{"data": "\0"}, {"\0": 1}, {"data": {"a": ["\0"]}}, {"name": "x" * 201}, {"labels": ["x"] * 33}, {"owner": None}],
)
def test_world_with_what_no_database_takes_is_refused(gateway: Caller, members: dict[str, object]) -> None:
    reply = gateway.post("/worlds", {"id": "w1", **members})

    assert (reply.status, reply.code) == (422, "input-invalid")
    assert not World.objects.exists()


@pytest.mark.parametrize("params", [{"a": "\0"}, {"a": "x" * 20_000}, {"a": 1e400}])
def test_params_that_cannot_be_kept_are_refused(world: World, gateway: Caller, params: dict[str, object]) -> None:
    body = json.dumps({"strategies": [{"strategy_id": "s9", "params": params}]}).replace("Infinity", "1e999")

    reply = gateway.send("POST", "/worlds/w1/bindings", body.encode())

    assert reply.status == 422
    assert not StrategyInstance.objects.filter(strategy_id="s9").exists()


@pytest.mark.parametrize(
    "body",
    [
        b'{"ts": ["2026-03-02T00:00:00Z"], "ret": [NaN]}',
        b'{"ts": ["2026-03-02T00:00:00Z"], "ret": [1e999]}',
        b'{"ts": ["2026-03-02T00:00:00Z"], "ret": ["\\u0000"]}',
        b'{"ts": ["0000-00-00T00:00:00Z"], "ret": [0]}',
        b'{"ts": ["2026-03-02T00:00:00"], "ret": [0]}',
        b'{"ts": ["2026-03-02T00:00:00Z"], "ret": [0], "colour": 1}',
        b"[" * 100_000,
        b"[]",
        b"\x00",
    ],
)
def test_hostile_returns_are_refused(world: World, gateway: Caller, body: bytes) -> None:
    reply = gateway.send("POST", "/worlds/w1/strategies/good/returns", body)

    assert reply.status == 422, reply.content


@pytest.mark.parametrize("numbers", [b"\x00" * 15, b"\xff" * 16, (b"\x00" * 6 + b"\xf0\x7f") * 2])
def test_hostile_raw_returns_are_refused(world: World, gateway: Caller, numbers: bytes) -> None:
    path = "/worlds/w1/strategies/good/returns"

    assert gateway.send("POST", path, numbers, "application/octet-stream").status == 422


def test_body_over_the_limit_is_refused_by_its_declared_length(world: World, gateway: Caller) -> None:
    reply = gateway.post("/worlds/w1/bindings", {"strategies": ["s"], "reason": "x" * 300_000})

    assert (reply.status, reply.code, reply.json()["limit"]) == (413, "body-too-large", 262_144)
