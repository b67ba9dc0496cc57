"""Make the roles of PostgreSQL and give each what it needs, and no more."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError, connection

from audit.roles import execute, may_grant, role_names, statements


class Command(BaseCommand):
    """``manage.py database_roles --print | --apply``, connected as the owner or as a superuser."""

    help = "Make or update the roles owner, app and readonly of PostgreSQL; run it as the owner of the tables."
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the options."""
        what = parser.add_mutually_exclusive_group(required=True)
        what.add_argument("--print", action="store_true", help="print the statements, and change nothing")
        what.add_argument("--apply", action="store_true", help="run them, in one transaction")

    def handle(self, *_args: object, **options: Any) -> None:  # Any: what argparse has parsed
        """Print or run the statements."""
        if connection.vendor != "postgresql":
            raise CommandError("Only PostgreSQL has roles; a SQLite file belongs to whoever may write it.")
        if not may_grant(connection):
            raise CommandError("Connect as the owner of the tables, after manage.py migrate.")
        try:
            wanted = statements(connection)
            if options["apply"]:
                execute(connection, wanted)
        except (DatabaseError, ValueError) as error:
            raise CommandError(str(error)) from error
        if options["print"]:
            self.stdout.writelines(f"{statement};\n" for statement in wanted)
            return
        self.stdout.write(f"Brought up to date: {', '.join(role_names())}.")
        self.stdout.write("A new role has no password; give it one with psql's \\password.")
