from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.browser.conftest import Visit
from tests.worlds.factories import person

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.django_db(transaction=True)]


def test_page_of_the_contract_renders_from_our_own_files(visit: Callable[..., Visit]) -> None:
    user = person("viewer", "viewer")
    user.is_staff = True
    user.save()
    shown = visit()
    shown.sign_in("viewer")

    shown.open("/api/docs")

    shown.page.get_by_text("Store a policy version").wait_for()
    assert shown.page.locator(".opblock").count() > 40
