from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.contrib.auth.models import User

from audit.roles import role_names
from qmtl_worlds.contracts.states import RunState
from tests import roles
from tests.audit.commands import verify
from tests.worlds.steps import BEST, approve_now, finish, wait_with_increase
from worlds.models import World
from worlds.services.activation import activation_of
from worlds.work.tick import tick

pytestmark = [pytest.mark.postgres, pytest.mark.slow]


@pytest.fixture
def as_app(transactional_db: None) -> Iterator[None]:
    """Every row is written by the role of the server."""
    with roles.made(), roles.logged_in(role_names().app):
        yield


def test_role_of_the_server_evaluates_approves_applies_and_ticks(
    as_app: None, world: World, alice: User, bob: User
) -> None:
    run = wait_with_increase(world, alice, bob)
    approve_now(world, run, bob)

    done = finish(world, run.run_id)
    tick()

    assert done.state == RunState.DONE
    assert activation_of(world_id=world.id, key=BEST).envelope.active
    assert verify()[0] == 0
