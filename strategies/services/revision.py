"""The data revision of a world: what was read under it can be read again.

Appends carry the present revision and do not wait for each other. A recorded evaluation closes it: every later row
carries a higher one, so the rows up to it never change again. A correction opens a new one for itself, so that of two
versions of a bar one always has the higher revision.
"""

from __future__ import annotations

import secrets
from typing import Final

from django.db import connection, transaction
from django.db.models import F

from strategies.models import SeriesHead

FIRST_REVISION: Final = 1

_STAMP_BYTES: Final = 16
_READ: Final = "SELECT revision FROM strategies_serieshead WHERE world_id = %s"
_READ_SHARED: Final = f"{_READ} FOR SHARE"


def ensure_head(*, world_id: str) -> None:
    """Make the world's head if there is none, and lock it until the caller's transaction ends."""
    SeriesHead.objects.bulk_create([SeriesHead(world_id=world_id, revision=FIRST_REVISION)], ignore_conflicts=True)
    SeriesHead.objects.select_for_update(no_key=True).get(pk=world_id)


def stamp_register(*, world_id: str) -> None:
    """Tell readers who remember the register (``selectors.candidates``) that it changes with the caller's transaction.

    Stamps are random, not counted: after a restore from a backup none comes up again for another content.
    """
    SeriesHead.objects.filter(pk=world_id).update(register_stamp=secrets.token_hex(_STAMP_BYTES))


def present_revision(*, world_id: str) -> int:
    """Return the revision for new rows, which nobody closes before the caller's transaction ends.

    Appends share it: ``FOR SHARE`` on PostgreSQL; on SQLite there is one writer at a time anyway.
    """
    with connection.cursor() as cursor:
        cursor.execute(_READ_SHARED if connection.vendor == "postgresql" else _READ, [world_id])
        row = cursor.fetchone()
    if row is None:
        ensure_head(world_id=world_id)
        return FIRST_REVISION
    return int(row[0])


def correcting_revision(*, world_id: str) -> int:
    """Open a revision for a correction and return it; the caller's transaction alone writes under it."""
    SeriesHead.objects.filter(pk=world_id).update(revision=F("revision") + 1)
    return SeriesHead.objects.values_list("revision", flat=True).get(pk=world_id)


@transaction.atomic
def pin_revision(*, world_id: str) -> int:
    """Close the present revision for an evaluation that will be recorded, and return it.

    Call it in a transaction of its own, before reading: it waits for the appends under way, and they are then seen.
    A world without instances has revision 0.
    """
    if not SeriesHead.objects.filter(pk=world_id).update(revision=F("revision") + 1):
        return 0
    return SeriesHead.objects.values_list("revision", flat=True).get(pk=world_id) - 1
