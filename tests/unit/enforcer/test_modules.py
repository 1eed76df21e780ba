# SPDX-License-Identifier: Apache-2.0
"""Every module of the enforcer has a file of tests, beside its own or for the whole program set."""

from __future__ import annotations

from pathlib import Path

import pytest

HERE = Path(__file__).parent
ENFORCER = HERE.parents[2] / "enforcer"
MODULES = sorted(
    path.relative_to(ENFORCER) for path in ENFORCER.rglob("*.py") if path.name != "__init__.py"
)
# What these say is only worth something together with the C sources.
WITH_THE_SOURCES = {
    Path("abi.py"): "test_layouts.py",
    Path("programs.py"): "test_compile.py",
    Path("programtable.py"): "test_compile.py",
    Path("preflight_check.py"): "../enforcer/test_preflight.py",
}


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_a_module_has_tests(module: Path) -> None:
    if module in WITH_THE_SOURCES:
        path = HERE.parent / "bpf" / WITH_THE_SOURCES[module]
    else:
        path = HERE / module.with_name(f"test_{module.name}")
    assert "\ndef test_" in path.read_text(encoding="utf-8")
