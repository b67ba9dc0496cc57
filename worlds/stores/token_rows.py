"""Which tokens were revoked lately, by one statement: every process asks it each second."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from worlds.stores.clock import now_expression
from worlds.stores.statements import rows_of, time_of

_REVOKED: Final = """
SELECT {now}, t.id FROM (SELECT 1 AS one) AS always LEFT JOIN worlds_apitoken t ON t.revoked_at >= %s
"""


def revoked_since(moment: datetime) -> tuple[datetime, frozenset[str]]:
    """Return the database's time, and the ids of the tokens that were revoked from ``moment`` until then."""
    rows = rows_of(_REVOKED.format(now=now_expression().replace("%", "%%")), moment)
    return time_of(rows[0][0]), frozenset(token_id for _, token_id in rows if token_id is not None)
