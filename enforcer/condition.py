# SPDX-License-Identifier: Apache-2.0
"""Whether this node enforces, as far as its last load has shown; `lictor doctor` tries it anew."""

from __future__ import annotations

import json
from typing import Any

from enforcer import paths, pins


def node_condition(owner: int | None) -> dict[str, Any]:
    """enforcing, mode (lsm, fmod_ret or null) and problem (empty, or sentences) of a node.

    owner: the program set that writes events; None if nobody can say. Enforcing is only what the
    canary was denied under and whose pins are still there.
    """
    try:
        report = json.loads(paths.LOADER_REPORT.read_text(encoding="utf-8"))
        mode, enforcing = report["mode"], report["enforcing"] is True
    except FileNotFoundError:
        return _condition(None, "no programs are loaded (lictor up)")
    except (OSError, ValueError, KeyError, TypeError) as error:
        return _condition(None, f"{paths.LOADER_REPORT}: damaged: {error}")
    if not enforcing:
        return _condition(mode, _reasons(report))
    number = report.get("program_set")
    if number not in pins.sets() or owner not in (number, None):
        return _condition(mode, f"program set {number} is gone (lictor up)")
    return {"enforcing": True, "mode": mode, "problem": ""}


def _condition(mode: str | None, problem: str) -> dict[str, Any]:
    return {"enforcing": False, "mode": mode, "problem": problem}


def _reasons(report: dict[str, Any]) -> str:
    reasons = [report["error"]] if report.get("error") else []
    canary = report.get("canary") or {}
    failed = {name: result for name, result in canary.items() if result != "denied"}
    if failed:
        reasons.append(f"the canary was not denied: {failed}")
    reasons += report.get("problems") or []
    return "; ".join(map(str, reasons)) or "the last load gave no reason"
