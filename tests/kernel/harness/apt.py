# SPDX-License-Identifier: Apache-2.0
"""Debian's packages of any suite, from the machine's own mirror, without touching its set-up."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.kernel.harness.progress import run

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_TARGET_FORMAT = "$(REPO_URI)|$(RELEASE)"


@dataclass(frozen=True)
class Mirror:
    """Where the machine gets Debian and its security updates from."""

    main: str
    security: str

    def sources(self, suites: Sequence[str]) -> list[str]:
        """Lines of a sources.list for these suites."""
        return [
            f"deb [signed-by={KEYRING}] "
            f"{self.security if suite.endswith('-security') else self.main} {suite} main"
            for suite in suites
        ]


def parse_targets(text: str) -> Mirror:
    """The mirror among `apt-get indextargets` lines of the form URI|RELEASE."""
    by_release: dict[str, str] = {}
    for line in text.splitlines():
        uri, _, release = line.partition("|")
        by_release.setdefault(release, uri)
    codename = next((name for name in by_release if f"{name}-security" in by_release), None)
    if codename is None:
        raise RuntimeError(
            "apt sources: no Debian release together with its -security suite among "
            f"{', '.join(sorted(by_release)) or 'nothing'}: the VM's packages come from there"
        )
    return Mirror(by_release[codename], by_release[f"{codename}-security"])


def machine_mirror() -> Mirror:
    """The mirror that this machine's own sources name."""
    command = ["apt-get", "indextargets", "--format", _TARGET_FORMAT, "Created-By: Packages"]
    return parse_targets(run("apt sources", command))


class PrivateApt:
    """apt with directories of its own below `folder`, for suites that the machine does not use."""

    def __init__(self, folder: Path, suites: Sequence[str]) -> None:
        if not KEYRING.exists():
            raise RuntimeError(f"{KEYRING}: missing; install the package debian-archive-keyring")
        for name in ("lists/partial", "cache/archives/partial", "state"):
            (folder / name).mkdir(parents=True)
        (folder / "state/status").touch()
        sources = folder / "sources.list"
        sources.write_text("\n".join(machine_mirror().sources(suites)) + "\n")
        settings = {
            "Dir::Etc::sourcelist": sources,
            "Dir::Etc::sourceparts": "-",
            "Dir::State": folder / "state",
            "Dir::State::status": folder / "state/status",
            "Dir::State::lists": folder / "lists",
            "Dir::Cache": folder / "cache",
            # As root, apt would download as _apt, which cannot write here.
            "APT::Sandbox::User": "root",
        }
        self._options = [
            word for key, value in settings.items() for word in ("-o", f"{key}={value}")
        ]
        self._suites = ", ".join(suites)
        run(f"apt lists of {self._suites}", ["apt-get", *self._options, "-q", "update"])

    def newest(self, package: str) -> dict[str, str]:
        """The control fields of a package's newest version."""
        what = f"package {package} of {self._suites}"
        text = run(what, ["apt-cache", *self._options, "--no-all-versions", "show", package])
        return parse_control(text)

    def download(self, package: str, folder: Path) -> Path:
        """Fetch a package's newest version into an empty folder of its own."""
        target = folder / package
        target.mkdir()
        command = ["apt-get", *self._options, "-q", "download", package]
        run(f"download of {package}", command, cwd=target)
        return next(target.glob("*.deb"))


def parse_control(text: str) -> dict[str, str]:
    """The fields of the first stanza; continuation lines are left out."""
    stanza = text.split("\n\n", 1)[0]
    return dict(re.findall(r"^([A-Za-z-]+): (.*)$", stanza, re.MULTILINE))


def dependencies(control: dict[str, str]) -> list[str]:
    """Names of what a package depends on, the first of each set of alternatives."""
    clauses = control.get("Depends", "").split(",")
    return [clause.split("|")[0].split("(")[0].strip() for clause in clauses if clause.strip()]
