"""Rules that the database itself enforces: rows that may never change, whoever asks.

An app registers its rules in ``AppConfig.ready``; they are installed after every ``migrate`` (a plain AddField on
SQLite rebuilds the table and drops its triggers) and looked for by a system check. The name of a trigger carries the
digest of its definition, so that an outdated one is replaced.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from django.db.backends.base.base import BaseDatabaseWrapper

from audit.trigger_sql import Trigger, create, drop, guards, installed, operations


@dataclass(frozen=True, slots=True)
class AppendOnly:
    """Rows of ``table`` are inserted, and that is all."""

    table: str


@dataclass(frozen=True, slots=True)
class Immutable:
    """Rows of ``table`` are never deleted, and an UPDATE is refused where ``when`` holds.

    ``when`` is SQL over OLD and NEW that both databases understand, such as ``OLD.state <> 'running'``; empty means
    always. With ``columns``, only changes of the values in those columns are refused.
    """

    table: str
    when: str = ""
    columns: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Guarded:
    """Rows of ``table`` are not deleted where ``delete`` holds, nor changed where ``update`` does; never truncated.

    Each is SQL over OLD (and NEW) by vendor, and may ask other tables.
    """

    table: str
    delete: Mapping[str, str]
    update: Mapping[str, str]


Rule = AppendOnly | Immutable | Guarded

_rules: dict[str, Rule] = {}


def protect(*rules: Rule) -> None:
    """Register rules; a later rule for the same table replaces the earlier one."""
    _rules.update({rule.table: rule for rule in rules})


def forget(table: str) -> None:
    """Take back the rule for a table; ``install`` then drops its triggers."""
    _rules.pop(table, None)


def rule_for(table: str) -> Rule | None:
    """Return the rule for a table, or None."""
    return _rules.get(table)


def install(connection: BaseDatabaseWrapper) -> tuple[str, ...]:
    """Bring the triggers of all protected tables that exist up to date; return ``table: operation`` of each new one."""
    wanted = {trigger.name: trigger for trigger in _wanted(connection)}
    present = installed(connection)
    for name in sorted(present.keys() - wanted.keys()):
        drop(connection, name, present[name])
    new = [trigger for name, trigger in wanted.items() if name not in present]
    create(connection, new)
    return tuple(str(trigger) for trigger in new)


def missing(connection: BaseDatabaseWrapper) -> tuple[str, ...]:
    """Return ``table: operation`` for every trigger that should be there and is not, or is switched off."""
    present = installed(connection)
    return tuple(str(trigger) for trigger in _wanted(connection) if trigger.name not in present)


def _wanted(connection: BaseDatabaseWrapper) -> Iterator[Trigger]:
    tables = set(connection.introspection.table_names())
    for rule in _rules.values():
        if rule.table not in tables:
            continue
        if isinstance(rule, Guarded):
            vendor = connection.vendor
            yield from guards(connection, rule.table, delete=rule.delete[vendor], update=rule.update[vendor])
            continue
        when, columns = (rule.when, rule.columns) if isinstance(rule, Immutable) else ("", ())
        yield from operations(connection, rule.table, when=when, columns=columns)
