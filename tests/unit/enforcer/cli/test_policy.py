# SPDX-License-Identifier: Apache-2.0
"""`lictor policy`: every fault at once, and what is in force."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from controlplane.contract.wire import RequestError
from enforcer import paths
from enforcer.cli.main import main
from tests.unit.controlplane.contract.documents import whole
from tests.unit.enforcer.cli.conftest import StartAgent

ROW = {
    "name": "rl", "revision": 4, "mode": "enforce", "select": ["/rl.slice/**"], "applied": 1.7e9,
    "digest": "abc", "description": "",
}  # fmt: skip


@pytest.fixture
def valid(tmp_path: Path) -> Path:
    path = tmp_path / "valid.yaml"
    path.write_text(yaml.safe_dump(whole()))
    return path


@pytest.fixture
def faulty(tmp_path: Path) -> Path:
    path = tmp_path / "faulty.yaml"
    document = whole(mode="maybe", egres={}, exec={"allow": ["usr"]}, ingress=None)
    path.write_text(yaml.safe_dump(document))
    return path


def test_a_valid_policy_is_said_so(valid: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["policy", "validate", str(valid)]) == 0
    assert capsys.readouterr().out == f"{valid}: policy rl-sandbox: valid\n"


def test_every_fault_of_every_file_is_listed(
    valid: Path, faulty: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["policy", "validate", str(faulty), str(valid), str(faulty)]) == 1
    output = capsys.readouterr()
    for field in ("spec.mode", "spec.egres", "spec.exec.allow[0]", "spec.ingress"):
        assert output.err.count(field) >= 2
    assert output.out == f"{valid}: policy rl-sandbox: valid\n"
    assert "Traceback" not in output.err


@pytest.mark.parametrize(
    "text",
    [b"", b"\xff\xfe", b"\0", b"[1, 2]", b"a: &x [*x]", b"{", b"- " * 5000,
     b"!!python/object:os {}", b"a: 1\na: 2\n", b"---\na: 1\n---\nb: 2\n"],
    ids=lambda text: repr(text[:10]),
)  # fmt: skip
def test_what_is_no_policy_is_refused_by_name(
    text: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "odd.yaml"
    path.write_bytes(text)
    assert main(["policy", "validate", str(path)]) == 1
    errors = capsys.readouterr().err
    assert str(path) in errors
    assert "Traceback" not in errors


def test_standard_input_is_a_file_too(
    valid: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(valid.read_bytes())))
    assert main(["policy", "validate", "-"]) == 0
    assert capsys.readouterr().out == "<stdin>: policy rl-sandbox: valid\n"


def test_a_file_that_is_not_there_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["policy", "validate", str(tmp_path / "absent.yaml")]) == 1
    assert "absent.yaml" in capsys.readouterr().err


@pytest.mark.parametrize(
    "path", sorted(paths.SHIPPED_POLICIES.glob("*.yaml")), ids=lambda path: path.stem
)
def test_a_shipped_policy_is_valid(path: Path) -> None:
    assert main(["policy", "validate", str(path)]) == 0


def _applied(_: dict[str, Any]) -> dict[str, Any]:
    return {"policy": ROW, "workloads": 2, "warnings": ["spec.ingress: none is not enforced yet"]}


def test_applied_files_say_what_is_in_force(
    valid: Path, start_agent: StartAgent, capsys: pytest.CaptureFixture[str]
) -> None:
    agent = start_agent("admin", policy_apply=_applied)
    assert main(["policy", "apply", str(valid)]) == 0
    output = capsys.readouterr()
    assert output.out == "policy rl: revision 4 in force (enforce), 2 workloads covered\n"
    assert output.err == "policy rl: note: spec.ingress: none is not enforced yet\n"
    assert agent.asked("policy.apply") == [{"source": str(valid), "text": valid.read_bytes()}]


def test_applied_files_as_json_are_one_object_each(
    valid: Path, start_agent: StartAgent, capsys: pytest.CaptureFixture[str]
) -> None:
    start_agent("admin", policy_apply=_applied)
    main(["policy", "apply", "--json", str(valid), str(valid)])
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [sorted(each) for each in found] == [["policy", "warnings", "workloads"]] * 2


def test_a_refused_file_ends_it(
    valid: Path, faulty: Path, start_agent: StartAgent, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(_: dict[str, Any]) -> dict[str, Any]:
        raise RequestError("invalid_policy", "faulty.yaml: policy x:\n  spec.mode: is missing")

    agent = start_agent("admin", policy_apply=refuse)
    assert main(["policy", "apply", str(faulty), str(valid)]) == 1
    assert "spec.mode: is missing" in capsys.readouterr().err
    assert len(agent.asked("policy.apply")) == 1


def test_the_list_has_a_line_for_each(
    start_agent: StartAgent, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [ROW, {**ROW, "name": "run-only", "select": []}]
    start_agent("admin", policy_list=lambda _: {"policies": rows})
    main(["policy", "list"])
    header, first, second = capsys.readouterr().out.splitlines()
    assert header.split() == ["NAME", "REVISION", "MODE", "APPLIED", "SELECTS"]
    assert first.split()[:3] == ["rl", "4", "enforce"]
    assert first.endswith("/rl.slice/**")
    assert second.endswith("(lictor run only)")
    main(["policy", "list", "--json"])
    assert json.loads(capsys.readouterr().out) == {"policies": rows}


def test_a_shown_policy_can_be_applied_again(
    start_agent: StartAgent, capsys: pytest.CaptureFixture[str]
) -> None:
    row = {**ROW, "document": whole()}
    start_agent("admin", policy_show=lambda _: {"policy": row})
    main(["policy", "show", "rl"])
    text = capsys.readouterr().out
    assert text.startswith("# revision 4, digest abc\n")
    assert yaml.safe_load(text) == whole()
    main(["policy", "show", "rl", "--json"])
    assert json.loads(capsys.readouterr().out) == row


def test_a_removed_policy_is_said_so(
    start_agent: StartAgent, capsys: pytest.CaptureFixture[str]
) -> None:
    agent = start_agent("admin", policy_remove=lambda _: {"name": "rl"})
    assert main(["policy", "remove", "rl"]) == 0
    assert agent.asked("policy.remove") == [{"name": "rl"}]
    assert capsys.readouterr().out == "policy rl: removed; its revisions are kept\n"
