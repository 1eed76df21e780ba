# SPDX-License-Identifier: Apache-2.0
"""What a VM is given for one run, as a tar archive that is its third disk."""

import json
import os
import subprocess
from pathlib import Path

from tests.kernel.harness.image import REPOSITORY
from tests.kernel.harness.progress import run

# Where things lie in the VM.
CHECKOUT = "src/lictor"
SHARE = "share"
RUNNER = Path(__file__).with_name("guest.py")


def checkout_files(repository: Path) -> list[str]:
    """Tracked files, and untracked ones that git does not ignore, as they are now."""
    # The owner of a checkout need not be the one who runs tests on it.
    command = ["git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others"]
    listed = subprocess.run(
        [*command, "--exclude-standard"], cwd=repository, capture_output=True, check=False
    )
    if listed.returncode != 0:
        raise RuntimeError(f"{repository}: {os.fsdecode(listed.stderr).strip()}")
    names = sorted(set(os.fsdecode(listed.stdout).split("\0")) - {""})
    return [name for name in names if os.path.lexists(repository / name)]


def write(image: Path, scratch: Path, command: str, share: Path | None, results: bool) -> None:
    """Write the disk: the runner, its orders, the checkout and a copy of `share`.

    `scratch` is an empty folder for what has to lie in files on the way.
    """
    orders = scratch / "job"
    orders.mkdir()
    (orders / "guest.py").write_bytes(RUNNER.read_bytes())
    (orders / "orders.json").write_text(json.dumps({"command": command, "results": results}))
    names = scratch / "names"
    names.write_bytes(b"\0".join(map(os.fsencode, checkout_files(REPOSITORY))))

    tar = ["tar", "--owner=0", "--group=0", "--file", image]
    run("job disk", [*tar, "--create", "--directory", scratch, "job"])
    moved = ["--transform", f"flags=rh;s,^,{CHECKOUT}/,", "--directory", REPOSITORY, "--null"]
    run("checkout for the VM", [*tar, "--append", *moved, "--files-from", names])
    if share is not None:
        if not share.is_dir():
            raise ValueError(f"SHARE: {share} is not a directory")
        renamed = ["--transform", f"flags=rh;s,^[.],{SHARE},", "--directory", share.resolve()]
        run(f"copy of {share}", [*tar, "--append", *renamed, "."])
