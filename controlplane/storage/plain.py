# SPDX-License-Identifier: Apache-2.0
"""Data of unknown origin, in a form that every database and JSON parser takes.

A model chooses paths, arguments and names. Nothing of that is a reason to refuse what a node
sends: it would stop all that the node has to say after it.
"""

from __future__ import annotations

import json
import math
from typing import Any

DEPTH_LIMIT = 64
"""Levels of nesting that are kept; parsers in other places stop at some hundred."""


def column_text(value: str) -> str:
    """Text for a column: without NUL, which PostgreSQL refuses, and without lone surrogates."""
    if value.isascii() and "\0" not in value:
        return value
    return _without_surrogates(value).replace("\0", "\\x00")


def plain_json(value: Any) -> tuple[Any, str]:
    """The value as JSON can say it, and its JSON, in ASCII. What is plain already stays itself."""
    try:
        text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        pass
    else:
        deep = text.count("{") + text.count("[") > DEPTH_LIMIT
        # Each surrogate is written so: a pair of them, which is fine, or a lone one.
        if not deep and "\\ud" not in text:
            return value, text
    value = _plain(value, DEPTH_LIMIT)
    return value, json.dumps(value, separators=(",", ":"))


def _plain(value: Any, depth: int) -> Any:
    """Mappings with text as keys, lists, text, numbers, booleans and None, of limited depth."""
    if isinstance(value, str):
        return _without_surrogates(value)
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    if isinstance(value, (dict, list, tuple)) and depth == 0:
        return "(nested too deep)"
    if isinstance(value, dict):
        return {_without_surrogates(str(k)): _plain(item, depth - 1) for k, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item, depth - 1) for item in value]
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    return _without_surrogates(str(value))


def _without_surrogates(value: str) -> str:
    """Text that UTF-8 can say: a lone surrogate becomes its escape, spelled out."""
    return value.encode("utf-8", "backslashreplace").decode("utf-8")
