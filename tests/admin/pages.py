"""Addresses of the admin's pages, and what tests do on them."""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import Any

from django.db.models import Model
from django.test import Client

from worlds.admin.scoped import act_address, page_address


def page(client: Client, row: Model) -> str:
    """Return the text of a row's page."""
    return text_of(client.get(page_address(row)))


def open_act(client: Client, row: Model, name: str, **query: Any) -> Any:
    """Open a button's page."""
    return client.get(act_address(row, name), query)


def press(client: Client, row: Model, name: str, *, query: str = "", **values: Any) -> Any:
    """Open a button's page, fill it in with what it holds already and ``values``, and send it."""
    address = act_address(row, name) + query
    answer: Any = client.get(address)
    held = dict(_held(answer.context["form"])) if answer.status_code == HTTPStatus.OK else {}
    return client.post(address, {"reason": "because", **held, **values}, follow=True)


def text_of(answer: Any) -> str:
    """Return the words of a page, without its tags, in one line."""
    without_tags = re.sub(r"<[^>]*>", " ", answer.content.decode())
    return re.sub(r"\s+", " ", without_tags)


def _held(form: Any) -> list[tuple[str, object]]:
    return [(bound.name, bound.value()) for bound in form if bound.value() is not None and bound.name != "text"]
