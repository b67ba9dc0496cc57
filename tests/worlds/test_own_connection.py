"""Threads of the tick connect by themselves, in place of the pool."""

from __future__ import annotations

import pytest
from django.db import connections

from qmtl_worlds.own_connection import no_pool
from worlds.models import World

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.postgres
def test_own_connection_takes_the_pools_place_and_gives_it_back_closed() -> None:
    pooled = connections["default"]

    with no_pool():
        own = connections["default"]
        assert World.objects.count() == 0
        assert own is not pooled
        assert "pool" not in own.settings_dict["OPTIONS"]
        assert own.settings_dict["OPTIONS"]["connect_timeout"] == 3
        assert pooled.connection is None

    assert connections["default"] is pooled
    assert own.connection is None


def test_without_a_pool_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    before = connections["default"]
    monkeypatch.delitem(before.settings_dict["OPTIONS"], "pool", raising=False)

    with no_pool():
        assert connections["default"] is before
