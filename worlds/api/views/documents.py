"""The OpenAPI document and its page."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from django.contrib.auth.decorators import login_required
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.views import SpectacularSwaggerSplitView
from rest_framework.request import Request
from rest_framework.response import Response

from worlds.api.endpoint import ApprovalEndpoint


class SchemaView(ApprovalEndpoint):
    """The contract, for machines and signed-in persons."""

    def get(self, request: Request) -> Response:  # noqa: ARG002 - Django's signature
        """Return the OpenAPI 3.1 document."""
        return Response(_document())


docs_page = login_required(
    SpectacularSwaggerSplitView.as_view(
        url_name="api-schema",
        template_name="api/docs.html",
        authentication_classes=(),
        permission_classes=(),
    )
)
"""The document as a page, from files of our own."""


@lru_cache(maxsize=1)
def _document() -> dict[str, Any]:
    generator: Any = SchemaGenerator  # the library does not type it
    document: dict[str, Any] = generator().get_schema(request=None, public=True)
    return document
