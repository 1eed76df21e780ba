# SPDX-License-Identifier: Apache-2.0
"""Holds every answer that a test gets against the OpenAPI document that the server gives."""

from __future__ import annotations

import re
from typing import Any

from openapi_schema_validator import OAS31Validator

Json = dict[str, Any]


class Conformance:
    """What the document says an operation may answer."""

    def __init__(self, document: Json) -> None:
        self.document = document
        self._patterns = {
            path: re.compile(re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(path)))
            for path in document["paths"]
        }

    def operation(self, method: str, path: str) -> Json | None:
        """The operation that serves a path, None if the document has none."""
        # A path without variables is meant before one with: /v1/events before /v1/events/{id}.
        for template in sorted(self._patterns, key=lambda text: text.count("{")):
            if self._patterns[template].fullmatch(path):
                found: Json | None = self.document["paths"][template].get(method.lower())
                return found
        return None

    def check(self, method: str, path: str, status: int, media_type: str, body: Any) -> None:
        """Fail if the document does not allow this answer."""
        operation = self.operation(method, path)
        if operation is None:
            assert status in (404, 405), f"{method} {path} is not in the document"
            return
        answers = operation["responses"]
        assert str(status) in answers, f"{method} {path}: {status} is not in the document: {body}"
        content = answers[str(status)].get("content", {})
        if not content:
            assert body is None, f"{method} {path} {status}: has a body: {body}"
            return
        assert media_type in content, f"{method} {path} {status}: is of type {media_type}"
        if not media_type.endswith("json"):
            return
        # The references in the schema are looked up in the whole document.
        schema = {**content[media_type]["schema"], "components": self.document["components"]}
        errors = [error.message for error in OAS31Validator(schema).iter_errors(body)]
        assert errors == [], f"{method} {path} {status}: {errors}"
