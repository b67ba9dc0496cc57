from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta

import pytest
from django.contrib.auth.models import User

from audit.chain import SYSTEM_CHAIN
from audit.models import AuditEvent
from qmtl_worlds.contracts.acts import Act
from qmtl_worlds.contracts.errors import (
    InputInvalidError,
    NotFoundError,
    PermissionDeniedError,
    StrategyNotFoundError,
    WorldNotFoundError,
)
from strategies.services.bind import Binding
from tests.worlds.factories import act_of, make_world, shell
from worlds.models import ApiToken, World
from worlds.services.authority import act_of_token
from worlds.services.binding import bind
from worlds.services.holds import freeze
from worlds.services.tokens import NewToken, TokenTerms, create_token, find_token, note_use, revoke_token
from worlds.stores.clock import database_now

pytestmark = pytest.mark.django_db


@pytest.fixture
def bare() -> World:
    return make_world()


def made(role: str = "submitter", *, worlds: Sequence[str] = (), strategies: Sequence[str] = ()) -> NewToken:
    return create_token(role=role, name="ci", act=shell(), worlds=worlds, strategies=strategies)


def act_with(new: NewToken) -> Act:
    token = find_token(text=new.text, now=database_now())
    assert token is not None
    return act_of_token(token, reason="test")


def test_token_is_found_by_its_text_and_only_its_hash_is_stored(bare: World) -> None:
    new = made()

    found = find_token(text=new.text, now=database_now())

    secret = new.text.split("_")[3]
    assert found == new.token
    assert secret not in str(ApiToken.objects.values().get())
    assert AuditEvent.objects.filter(chain=SYSTEM_CHAIN, kind="access.token_created").count() == 1
    assert secret not in str(list(AuditEvent.objects.values()))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: text[:-1],
        lambda text: text[:-1] + ("0" if text[-1] != "0" else "1"),
        lambda text: text.replace("submitter", "runner"),
        lambda text: text + " ",
        lambda _text: "",
        lambda _text: "qw_submitter",
        lambda text: text.upper(),
    ],
)
def test_token_that_is_not_exactly_right_is_none(bare: World, spoil: Callable[[str], str]) -> None:
    text = spoil(made().text)

    assert find_token(text=text, now=database_now()) is None


def test_token_with_another_tokens_secret_is_none(bare: World) -> None:
    first, second = made().text.split("_"), made().text.split("_")

    mixed = "_".join([*first[:3], second[3], first[4]])

    assert find_token(text=mixed, now=database_now()) is None


def test_token_lives_ninety_days_and_not_a_moment_longer(bare: World) -> None:
    new = made()
    end = new.token.created_at + timedelta(days=90)

    assert find_token(text=new.text, now=end - timedelta(microseconds=1)) is not None
    assert find_token(text=new.text, now=end) is None


def test_revoked_token_is_worthless_from_the_next_request_on(bare: World) -> None:
    new = made()

    revoke_token(token_id=new.token.id, act=shell())
    revoke_token(token_id=new.token.id, act=shell())

    assert find_token(text=new.text, now=database_now()) is None
    assert AuditEvent.objects.filter(kind="access.token_revoked").count() == 1


def test_two_tokens_of_one_name_live_side_by_side_for_rotation(bare: World) -> None:
    old, new = made(), made()

    revoke_token(token_id=old.token.id, act=shell())

    assert find_token(text=new.text, now=database_now()) is not None


def test_token_of_one_world_learns_nothing_of_another(bare: World) -> None:
    make_world("w2")
    act = act_with(made(worlds=("w2",)))

    with pytest.raises(WorldNotFoundError):
        bind(world_id="w1", bindings=[Binding("s1")], act=act)


def test_token_of_one_strategy_learns_nothing_of_another(bare: World) -> None:
    act = act_with(made(strategies=("s1",)))

    bind(world_id="w1", bindings=[Binding("s1")], act=act)

    with pytest.raises(StrategyNotFoundError):
        bind(world_id="w1", bindings=[Binding("s2")], act=act)


def test_submitter_cannot_freeze_a_world(bare: World) -> None:
    with pytest.raises(PermissionDeniedError):
        freeze(world_id="w1", act=act_with(made()))


@pytest.mark.parametrize("role", ["approver", "admin", "superuser", ""])
def test_token_cannot_have_the_role_of_a_person(bare: World, role: str) -> None:
    with pytest.raises(InputInvalidError):
        made(role)


def test_token_that_expires_in_the_past_is_refused(bare: World) -> None:
    act = shell()

    with pytest.raises(InputInvalidError):
        create_token(role="runner", name="x", act=act, terms=TokenTerms(act.now))


def test_token_with_an_unknown_provenance_is_refused(bare: World) -> None:
    with pytest.raises(InputInvalidError, match="provenance"):
        create_token(role="submitter", name="x", act=shell(), terms=TokenTerms(provenance="dream"))


def test_token_for_a_world_that_is_not_there_is_refused_whole(bare: World) -> None:
    with pytest.raises(WorldNotFoundError):
        made(worlds=("nowhere",))

    assert not ApiToken.objects.exists()


def test_operator_cannot_make_or_revoke_tokens(bare: World, alice: User) -> None:
    token = made().token

    with pytest.raises((PermissionDeniedError, WorldNotFoundError)):
        create_token(role="runner", name="x", act=act_of(alice))
    with pytest.raises((PermissionDeniedError, WorldNotFoundError)):
        revoke_token(token_id=token.id, act=act_of(alice))


def test_revoking_a_token_that_is_not_there_says_so(bare: World) -> None:
    with pytest.raises(NotFoundError):
        revoke_token(token_id="0" * 16, act=shell())


def test_use_is_noted_to_the_minute(bare: World) -> None:
    token, now = made().token, database_now()
    note_use(token=token, now=now)
    token.refresh_from_db()
    note_use(token=token, now=now + timedelta(seconds=59))
    soon = ApiToken.objects.get().last_used_at
    note_use(token=token, now=now + timedelta(seconds=60))

    assert soon == now
    assert ApiToken.objects.get().last_used_at == now + timedelta(seconds=60)
