"""``manage.py world_restore_fence``: after a database was restored, count anew and close until a person opens."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import User
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError

from qmtl_worlds.contracts.acts import Act
from qmtl_worlds.contracts.errors import StoreUnavailableError, WorldsError
from qmtl_worlds.contracts.lease import Position
from worlds.models import World
from worlds.services.advance import advance
from worlds.services.authority import act_of_person, act_of_shell
from worlds.services.restore import claims_of_redis, fence_world, lift_boot


class Command(BaseCommand):
    """Needs the database only; where Redis answers, what it remembers is counted in."""

    help = "Fence worlds after a restore: a new incarnation, gates closed until a person of the risk role opens them."

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        chosen = parser.add_mutually_exclusive_group(required=True)
        chosen.add_argument("--world", action="append", dest="worlds", metavar="ID", help="may be given several times")
        chosen.add_argument("--all", action="store_true", help="every world that is not archived")
        parser.add_argument("--reason", required=True, help="goes into the audit")
        parser.add_argument("--open-as", metavar="USERNAME", help="open fenced worlds, as a person of the risk role")

    def handle(self, *args: Any, **options: Any) -> None:  # noqa: ARG002 - Django's signature
        """Fence each world in a transaction of its own; one that cannot be fenced is named, and the command ends 1."""
        worlds = self._worlds(options["worlds"])
        if options["open_as"]:
            self._open(worlds, options["open_as"], options["reason"])
            return
        act = act_of_shell(reason=options["reason"])
        claims = self._claims(worlds)
        failed = [world.id for world in worlds if not self._fence(world, claims.get(world.id), act)]
        if failed:
            raise CommandError(f"Not fenced: {', '.join(failed)}. Run the command again for them.")
        self.stdout.write("Gates stay closed until a person of the risk role opens them (how-to: restore a backup).")

    def _open(self, worlds: list[World], name: str, reason: str) -> None:
        user = User.objects.filter(username=name).first()
        if user is None:
            raise CommandError(f"There is nobody named {name}.")
        try:
            for world in worlds:
                done = lift_boot(world_id=world.id, act=act_of_person(user, reason=reason))
                self.stdout.write(f"{world.id}: {'opened' if done else 'was not held by a fence'}")
        except WorldsError as error:
            raise CommandError(error.detail) from error

    def _worlds(self, names: list[str] | None) -> list[World]:
        if not names:
            return list(World.objects.exclude(state=World.State.DELETED))
        found = list(World.objects.filter(id__in=names))
        if missing := set(names) - {world.id for world in found}:
            raise CommandError(f"There is no world {', '.join(sorted(missing))}; nothing was done.")
        return found

    def _claims(self, worlds: list[World]) -> dict[str, Position]:
        try:
            return claims_of_redis(worlds)
        except StoreUnavailableError:
            self.stderr.write("Redis does not answer; the fence goes by the database and its clock alone.")
            return {}

    def _fence(self, world: World, remembered: Position | None, act: Act) -> bool:
        try:
            fence = fence_world(world_id=world.id, remembered=remembered, act=act)
        except (WorldsError, DatabaseError) as error:
            self.stderr.write(f"{world.id}: {error}")
            return False
        self.stdout.write(f"{world.id}: incarnation {fence.incarnation_before} -> {fence.incarnation}, closed")
        for run_id in fence.held:
            self.stdout.write(f"{world.id}: run {run_id} {self._hold(world, run_id, act)}")
        for run_id in fence.void:
            self.stdout.write(f"{world.id}: approvals of run {run_id} are void")
        return True

    def _hold(self, world: World, run_id: str, act: Act) -> str:
        """Let the machine hold a run now; where it cannot, the tick does."""
        try:
            return f"is {advance(world_id=world.id, run_id=run_id, act=act).state}"
        except (WorldsError, DatabaseError) as error:
            return f"will be held by the tick ({error})"
