"""Every page of the admin: importing a module registers its pages."""

from __future__ import annotations

from worlds.admin import activations, people, policies, register_pages, runs, world

MODULES = (activations, people, policies, register_pages, runs, world)
