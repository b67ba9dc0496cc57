"""``manage.py world_kill``: close the gates of a world, or of one strategy, with nothing but the database."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import Any, Final

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError, InterfaceError

from qmtl_worlds.contracts.acts import Act
from qmtl_worlds.contracts.errors import WorldsError
from qmtl_worlds.contracts.ids import InstanceKey, check_side, check_world_id
from worlds.services.authority import act_of_shell
from worlds.services.kills import kill
from worlds.stores import kill_file

NOT_RECORDED: Final = 3
NOT_KILLED: Final = 4


class Command(BaseCommand):
    """Kill. Neither web, workers nor Redis are needed; no second person, no question.

    Exit codes: 0 killed and recorded, 1 refused, 3 killed by a file and recorded later, 4 the database does not answer:
    nothing was killed.
    """

    help = "Close every gate of a world, or of one strategy, for exits too, until somebody lifts it."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument("world")
        parser.add_argument("--strategy", help="kill this one only; it leaves the active set by itself")
        parser.add_argument("--side", default="long", choices=("long", "short"), help="of the strategy; default long")
        parser.add_argument("--reason", required=True, help="goes into the audit")

    def handle(self, *args: Any, **options: Any) -> None:  # noqa: ARG002 - Django's signature
        """Kill, and say what that did."""
        scope = _scope(options["world"], options["strategy"], options["side"])
        what = f"{options['world']} {scope}".strip()
        try:
            killed = kill(world_id=options["world"], scope=scope, act=act_of_shell(reason=options["reason"]))
        except WorldsError as error:
            raise CommandError(error.detail) from error
        except (DatabaseError, InterfaceError) as error:
            self._without_database(options["world"], scope, options["reason"], error)
        else:
            self._tell(what, recorded=killed.recorded)

    def _without_database(self, world_id: str, scope: str, reason: str, error: Exception) -> None:
        if not kill_file.are_used():
            self.stderr.write(f"NOT KILLED: the database does not answer: {error}")
            sys.exit(NOT_KILLED)
        kill_file.drop(world_id=world_id, scope=scope, act=Act("shell", reason, datetime.now(UTC)))
        self._tell(f"{world_id} {scope}".strip(), recorded=False)

    def _tell(self, what: str, *, recorded: bool) -> None:
        if recorded:
            self.stdout.write(f"Killed: {what}. Every permission is dead after one lease.")
            return
        self.stdout.write(f"Killed by a file: {what}. The database is busy; the tick records it as soon as it can.")
        sys.exit(NOT_RECORDED)


def _scope(world_id: str, strategy_id: str | None, side: str) -> str:
    try:
        check_world_id(world_id)
        return InstanceKey.from_text(f"{strategy_id}|{check_side(side).value}").text if strategy_id else ""
    except WorldsError as error:
        raise CommandError(error.detail) from error
