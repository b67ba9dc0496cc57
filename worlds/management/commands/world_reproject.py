"""``manage.py world_reproject``: throw the copies in Redis away and write them again from the rows."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from qmtl_worlds.contracts.errors import WorldsError
from worlds.models import World
from worlds.services.projection import project_anew


class Command(BaseCommand):
    """Do at once, and whatever Redis claims, what the tick does by itself within a second."""

    help = "Rewrite the copies of the active sets in Redis from the rows; all worlds, or those named."

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument("worlds", nargs="*", metavar="WORLD", help="worlds; default all that are not archived")

    def handle(self, *args: Any, **options: Any) -> None:  # noqa: ARG002 - Django's signature
        """Rewrite each; one that cannot be written is named, and the command ends with 1."""
        alive = World.objects.exclude(state=World.State.DELETED).order_by("id").values_list("id", flat=True)
        failed = 0
        for world_id in options["worlds"] or list(alive):
            try:
                done = project_anew(world_id=world_id)
            except WorldsError as error:
                self.stderr.write(f"{world_id}: {error.detail}")
                done = False
            self.stdout.write(f"{world_id}: {'written' if done else 'NOT written'}")
            failed += not done
        if failed:
            raise CommandError(f"{failed} copies were not written.")
