# SPDX-License-Identifier: Apache-2.0
"""The command line, and the shape of hooks.json."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.bench import native, run, table
from tests.kernel.harness.vm import VmResult
from tests.unit.bench import samples


@pytest.fixture
def boots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, bool]]:
    """VMs that leave the sample's figures; the list tells which were asked for."""
    asked: list[tuple[str, bool]] = []

    def run_vm(kernel: str, command: str, *, out: Path, lsm: bool, **_: Any) -> VmResult:
        asked.append((kernel, lsm))
        out.mkdir(exist_ok=True)
        (out / "counts.json").write_text(json.dumps(samples.boot()))
        return VmResult("6.1.192", 0, b"", b"", tmp_path / "console")

    monkeypatch.setattr(run, "run_vm", run_vm)
    monkeypatch.setattr(native, "measure", lambda _: samples.native())
    monkeypatch.setattr(run, "REPOSITORY", tmp_path)
    monkeypatch.setattr(run, "RESULTS", tmp_path / "bench")
    monkeypatch.setattr(run, "DOCUMENT", tmp_path / "benchmarks.md")
    monkeypatch.setattr(run, "README", tmp_path / "README.md")
    monkeypatch.delenv("KERNELS", raising=False)
    monkeypatch.delenv("ATTACH", raising=False)
    return asked


def test_results_hold_the_raw_medians_and_what_follows(
    boots: list[tuple[str, bool]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run.main([]) == 0
    assert boots == [("6.1", True)]
    found = json.loads((tmp_path / "bench/hooks.json").read_text())
    assert found["version"] == 1
    [entry] = found["boots"]
    assert entry["counts"]["none"]["inside"]["fork"]["median"] == 1000
    assert entry["added"]["lictor"]["inside"]["fork"] == {"added": 0}
    assert all(target["holds"] is True for target in entry["targets"])
    assert entry["repetition"]["same"] == entry["repetition"]["cases"]
    found = json.loads((tmp_path / "bench/controlplane.json").read_text())
    assert (found["version"], found["ingest"]["events_per_cpu_second"]) == (1, 20_000)
    shown = capsys.readouterr().out
    assert "| fork, wait | 1,000 |" in shown
    assert "Ingest: 20,000 events for each CPU second of its process." in shown


def test_kernels_and_ways_of_attaching_may_be_chosen(
    boots: list[tuple[str, bool]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KERNELS", "6.12 7")
    assert run.main(["--attach", "both"]) == 0
    assert boots == [("6.12", True), ("6.12", False), ("7", True), ("7", False)]


def test_an_unknown_way_of_attaching_is_refused(
    boots: list[tuple[str, bool]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ATTACH", "kprobe")
    with pytest.raises(SystemExit):
        run.main([])
    assert boots == []


def test_documents_are_refreshed_when_asked(boots: list[tuple[str, bool]], tmp_path: Path) -> None:
    document, readme = tmp_path / "benchmarks.md", tmp_path / "README.md"
    document.write_text(f"{table.BEGIN}\n{table.END}\n")
    readme.write_text("\n".join(table.README_MARKERS))
    run.main([])
    assert "fork" not in document.read_text() + readme.read_text()
    run.main(["--update-docs"])
    assert "Made by `make bench KERNELS='6.1' ATTACH=lsm`." in document.read_text()
    assert "| fork, wait | 1,000 |" in readme.read_text()


def test_a_vm_that_fails_fails_the_benchmark(
    boots: list[tuple[str, bool]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    failed = VmResult("6.1.192", 3, b"", b"", tmp_path / "console")
    monkeypatch.setattr(run, "run_vm", lambda *_, **__: failed)
    assert run.main([]) == 1
    assert capsys.readouterr().err == "bench: VM 6.1.192: the benchmark ended with 3\n"
