from __future__ import annotations

import pytest
from django.core.management import call_command
from django.db import connection
from django.db.models.signals import pre_migrate

from worlds.migrating import TIMEOUTS


def timeouts() -> list[str]:
    with connection.cursor() as cursor:
        return [cursor.execute(f"SHOW {name}").fetchone()[0] for name in TIMEOUTS]


@pytest.mark.postgres
@pytest.mark.django_db
def test_migration_may_take_as_long_as_it_needs_and_requests_may_not() -> None:
    before, meanwhile = timeouts(), []

    def look(**_signal: object) -> None:
        meanwhile.append(timeouts())

    pre_migrate.connect(look, sender=None, weak=False)
    try:
        call_command("migrate", verbosity=0)
    finally:
        pre_migrate.disconnect(look, sender=None)

    assert meanwhile[-1] == ["0", "0"]
    assert timeouts() == before
    assert "0" not in before
