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
# What the first four say is only worth something together with the C sources; the others are
# parts of a command that is tested as a whole.
ELSEWHERE = {
    Path("abi.py"): "../bpf/test_layouts.py",
    Path("compilation.py"): "../bpf/test_compile.py",
    Path("programs.py"): "../bpf/test_compile.py",
    Path("programtable.py"): "../bpf/test_compile.py",
    Path("preflight_check.py"): "test_preflight.py",
    Path("cli/incident_story.py"): "cli/test_incidents.py",
    Path("cli/policy_files.py"): "cli/test_policy.py",
    Path("cli/policy_node.py"): "cli/test_policy.py",
}


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_a_module_has_tests(module: Path) -> None:
    path = HERE / ELSEWHERE.get(module, module.with_name(f"test_{module.name}"))
    assert "\ndef test_" in path.read_text(encoding="utf-8")
