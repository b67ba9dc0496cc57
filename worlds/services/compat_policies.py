"""Store policies that are written in QMTL's dialect."""

from __future__ import annotations

from django.db import transaction

from qmtl_worlds.contracts.acts import Act
from qmtl_worlds.policy.dialect import canonical_text, translate
from qmtl_worlds.policy.places import SourceTree
from worlds.models import PolicyVersion
from worlds.services.changes import locked_world
from worlds.services.policies import store_policy


@transaction.atomic
def store_translated(*, world_id: str, tree: SourceTree, act: Act) -> PolicyVersion:
    """Store the canonical form of a policy as the next version; the same policy as the newest one is that one.

    Raises:
        PolicyInvalidError: with all faults, and nothing is stored.
    """
    act.require("policy.draft", world_id)
    world = locked_world(world_id)
    newest = PolicyVersion.objects.filter(world=world).order_by("-version").first()
    if newest is not None and newest.text == translated_text(tree, world_id=world_id, version=newest.version):
        return newest
    number = newest.version + 1 if newest else 1
    return store_policy(world_id=world_id, text=translated_text(tree, world_id=world_id, version=number), act=act)


def translated_text(tree: SourceTree, *, world_id: str, version: int) -> str:
    """Return the canonical text of a policy in QMTL's dialect.

    Raises:
        PolicyInvalidError: with all faults.
    """
    return canonical_text(translate(tree, world_id=world_id, version=version), tree.value)
