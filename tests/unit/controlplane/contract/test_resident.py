# SPDX-License-Identifier: Apache-2.0
"""What a daemon's start needed is given back, and the daemon goes on."""

import subprocess
import sys

PROGRAM = """
import json, re, asyncio, pydantic
from pathlib import Path
from controlplane.contract import resident

def held():
    return int(re.search(r"RssFile:\\s*(\\d+)", Path("/proc/self/status").read_text())[1])

class Model(pydantic.BaseModel):
    number: int

before = held()
resident.give_back()
after = held()
assert Model(number="7").number == 7
assert asyncio.run(asyncio.sleep(0, "slept")) == "slept"
print(json.dumps([before, after]))
"""


def test_code_is_given_back_and_found_again() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, check=True)
    before, after = map(int, done.stdout.strip(b"[]\n").split(b","))
    assert after < before * 3 / 4
