from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from qmtl_worlds.contracts.faults import Fault
from tests.admin.conftest import SignIn
from tests.admin.pages import open_act, page, press, text_of
from tests.admin.test_admin_approval import grow_old
from tests.worlds.factories import POLICY, person
from worlds.admin.policy_faults import shown_faults
from worlds.models import PolicyChange, PolicyVersion, World

pytestmark = pytest.mark.django_db

SECOND = POLICY.format(world="w1", version=2).replace(">= 0.5", ">= 0.9")
FAULTY = SECOND.replace("sharpe_30d >= 0.9", "sharp_30d >= 0.9").replace("total: 3", "totl: 3")


def upload(client: Client, world: World, **values: Any) -> str:
    return text_of(press(client, world, "upload", **values))


@pytest.fixture
def second(world: World, alice: User, sign_in: SignIn) -> PolicyVersion:
    """A draft of version 2."""
    upload(sign_in(alice), world, text=SECOND)
    return PolicyVersion.objects.get(version=2)


def test_upload_stores_a_draft_and_leaves_the_version_in_force(
    second: PolicyVersion, alice: User, sign_in: SignIn
) -> None:
    words = page(sign_in(alice), second)

    assert second.text == SECOND
    assert World.objects.get().policy != second
    assert "draft" in words
    assert "sharpe_30d &gt;= 0.5" in words
    assert "sharpe_30d &gt;= 0.9" in words


def test_every_fault_stands_beneath_its_line(world: World, alice: User, sign_in: SignIn) -> None:
    answer = press(sign_in(alice), world, "upload", text=FAULTY)

    words = text_of(answer)
    assert "3 faults; nothing was stored" in words
    assert "6:" in words
    assert "8:" in words
    assert "gates: {and: [&quot;sharp_30d &gt;= 0.9&quot;]}" in words
    assert FAULTY in answer.context["form"].data["text"]
    assert PolicyVersion.objects.count() == 1


def test_a_file_is_taken_instead_of_the_text(world: World, alice: User, sign_in: SignIn) -> None:
    file = SimpleUploadedFile("policy.yml", SECOND.encode())

    upload(sign_in(alice), world, text="ignored", file=file)

    assert PolicyVersion.objects.get(version=2).text == SECOND


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\xff\xfe", "Not UTF-8: byte 1 cannot be read."),
        (b"a: b\n" * 20_000, "at most 65536 are taken"),
        (b"", "The submitted file is empty."),
    ],
)
def test_a_file_that_cannot_be_a_policy_is_refused_at_its_field(
    world: World, alice: User, sign_in: SignIn, content: bytes, words: str
) -> None:
    file = SimpleUploadedFile("policy.yml", content)

    answer = upload(sign_in(alice), world, file=file)

    assert words in answer
    assert PolicyVersion.objects.count() == 1


def test_an_upload_of_nothing_asks_for_something(world: World, alice: User, sign_in: SignIn) -> None:
    assert "Type a policy, or choose a file." in upload(sign_in(alice), world, text=" ")


def test_a_taken_version_number_is_refused_in_words(world: World, alice: User, sign_in: SignIn) -> None:
    answer = upload(sign_in(alice), world, text=SECOND.replace("version: 2", "version: 1"))

    assert "exists already" in answer


def test_second_person_puts_a_version_in_force(second: PolicyVersion, alice: User, bob: User, sign_in: SignIn) -> None:
    asked = text_of(press(sign_in(alice), second, "request", reason="stricter"))
    change = PolicyChange.objects.get(policy=second)
    shown = page(sign_in(bob), change)
    press(sign_in(bob), change, "approve")

    assert "a different person must decide. Who can: bob ." in asked
    assert "What version 2 changes against version 1 in force" in shown
    assert World.objects.get().policy == second


def test_putting_in_force_asks_for_the_password_again(
    second: PolicyVersion, alice: User, bob: User, sign_in: SignIn
) -> None:
    press(sign_in(alice), second, "request")
    change, client = PolicyChange.objects.get(policy=second), sign_in(bob)
    grow_old(client, minutes=6)

    press(client, change, "approve")
    before = World.objects.get().policy
    press(client, change, "approve", password="bob")

    assert before != second
    assert World.objects.get().policy == second


def test_author_cannot_put_the_own_version_in_force(world: World, sign_in: SignIn) -> None:
    carol = person("carol", "author", "approver")
    client = sign_in(carol)
    upload(client, world, text=SECOND)
    press(client, PolicyVersion.objects.get(version=2), "request")
    change = PolicyChange.objects.get(policy__version=2)

    words = text_of(press(client, change, "approve"))

    assert "a different person must approve" in words
    assert World.objects.get(policy__version=1) == world


def test_rejection_leaves_the_version_in_force(second: PolicyVersion, alice: User, bob: User, sign_in: SignIn) -> None:
    press(sign_in(alice), second, "request")
    change = PolicyChange.objects.get(policy=second)

    press(sign_in(bob), change, "reject", reason="not now")

    change.refresh_from_db()
    assert change.state == PolicyChange.State.REJECTED
    assert World.objects.get().policy != second


@pytest.mark.parametrize("name", ["approve", "reject"])
def test_operator_may_not_decide_a_policy(second: PolicyVersion, alice: User, sign_in: SignIn, name: str) -> None:
    client = sign_in(alice)
    press(client, second, "request")

    answer = press(client, PolicyChange.objects.get(policy=second), name)

    assert answer.status_code == 403


def test_approver_may_not_ask_for_a_policy(second: PolicyVersion, bob: User, sign_in: SignIn) -> None:
    answer = open_act(sign_in(bob), second, "request")

    assert answer.status_code == 403


def test_a_fault_in_a_long_line_is_shown_around_its_place() -> None:
    text = "a: 1\n" + "x" * 500

    shown = shown_faults(text, [Fault(2, 301, "x", "code", "wrong"), Fault(9, 1, "", "code", "late")])

    assert len(shown[0].text) == 160
    assert shown[0].caret == " " * 60 + "^"
    assert (shown[1].text, shown[1].caret) == ("", "")
