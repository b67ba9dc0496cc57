"""Every page of the admin: importing a module registers its pages."""

from __future__ import annotations

from worlds.admin import (
    accounts,
    activations,
    alert_pages,
    outside_pages,
    overrides,
    people,
    policies,
    register_pages,
    reopenings,
    runs,
    sessions,
    world,
)

MODULES = (
    accounts,
    activations,
    alert_pages,
    outside_pages,
    overrides,
    people,
    policies,
    register_pages,
    reopenings,
    runs,
    sessions,
    world,
)
