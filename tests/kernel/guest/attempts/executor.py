# SPDX-License-Identifier: Apache-2.0
"""A tool executor inside a workload: announces calls in every way and lets children act.

Each child connects to a port that nobody else uses: the port is the truth about who acted, told
over a channel of its own (the refused connect reaches no one, but its event names the port).
Prints one JSON object: port -> the call id that must be named (null for none), and the state.
"""

from __future__ import annotations

import faulthandler
import json
import os
import queue
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from controlplane.contract.wire import RequestError
from enforcer.client import EnforcerClient

SOCKET = Path("/run/lictor/calls/calls.sock")
TRUTH: dict[int, tuple[str | None, str | None]] = {}
RESULTS: dict[str, Any] = {}
SECONDS = 120


def knock(port: int, call: str | None, state: str | None = "active") -> str:
    """Shell text that tries to connect to `port`, and a note of what must be said of it."""
    TRUTH[port] = (call, state if call else None)
    return f"(echo > /dev/tcp/10.99.0.1/{port}) 2>/dev/null"


def shell(text: str) -> None:
    subprocess.run(["bash", "-c", text], check=False)


def refused(client: EnforcerClient, **fields: Any) -> str | None:
    """Code of the refusal of a begin, None if it was granted."""
    try:
        client.request("begin", **fields)
    except RequestError as error:
        return error.code
    return None


def thread_binding() -> None:
    with EnforcerClient(SOCKET) as client:
        call = client.request(
            "begin", id="a1", episode="ep", step=3, tool="bash", thread=threading.get_native_id()
        )["call"]
        shell(knock(10001, "a1") + "; bash -c '" + knock(10002, "a1") + "'")
        outside = threading.Thread(target=lambda: shell(knock(10003, None)))
        outside.start()
        outside.join()
        client.request("end", call=call)
        shell(knock(10004, None))


def parallel_threads() -> None:
    barrier = threading.Barrier(2)

    def work(name: str, base: int) -> None:
        with EnforcerClient(SOCKET) as client:
            call = client.request("begin", id=name, thread=threading.get_native_id())["call"]
            for offset in range(5):
                barrier.wait()
                shell(knock(base + offset, name))
            client.request("end", call=call)

    threads = [
        threading.Thread(target=work, args=("p1", 10100)),
        threading.Thread(target=work, args=("p2", 10200)),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


class Shell:
    """A bash that lives longer than a call, as an agent server keeps one."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            ["bash"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )

    def run(self, text: str) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(text + "\necho done\n")
        self.process.stdin.flush()
        while (line := self.process.stdout.readline()).strip() != "done":
            if not line:
                raise RuntimeError(f"the shell ended with {self.process.wait()} on: {text}")


def target_binding() -> None:
    bash = Shell()
    bash.run(knock(10300, None))
    with EnforcerClient(SOCKET) as client:
        call = client.request("begin", id="b1", target=bash.process.pid)["call"]
        bash.run(knock(10301, "b1"))
        bash.run("bash -c '" + knock(10302, "b1") + "'")
        bash.run(f"(sleep 2; {knock(10303, 'b1', 'ended')}; echo > /tmp/daemon-done) &")
        client.request("end", call=call)
        bash.run(knock(10304, "b1", "after"))
        bash.run("bash -c '" + knock(10305, "b1", "after") + "'")
        call = client.request("begin", id="b2", target=bash.process.pid)["call"]
        bash.run(knock(10306, "b2"))
        client.request("end", call=call)


def daemon_left_behind() -> None:
    text = f"setsid bash -c 'sleep 2; {knock(10400, 'd1', 'ended')}; echo > /tmp/d1-done' &"
    subprocess.run(
        ["lictor", "call", "exec", "--id", "d1", "--episode", "ep", "--", "bash", "-c", text],
        check=True,
    )


def held_call() -> None:
    bash = Shell()
    client = EnforcerClient(SOCKET)
    client.request("begin", id="h1", target=bash.process.pid, hold=True)
    bash.run(knock(10500, "h1"))
    client.close()
    with EnforcerClient(SOCKET) as probe:
        # The agent handles connections in order of arrival: it has seen the other one close.
        refused(probe, id="x", thread=1)
    bash.run(knock(10501, "h1", "after"))


def forgeries() -> None:
    codes: dict[str, str | None] = {}
    with EnforcerClient(SOCKET) as client:
        codes["foreign_thread"] = refused(client, id="f", thread=1)
        codes["process_outside"] = refused(client, id="f", target=1)
        codes["both"] = refused(client, id="f", thread=1, target=1)
        codes["no_id"] = refused(client, thread=threading.get_native_id())
        codes["long_id"] = refused(client, id="f" * 300, thread=threading.get_native_id())
        codes["other_episode"] = refused(
            client, id="f", episode="stolen", thread=threading.get_native_id()
        )
    forge = (
        "import json,os,sys;sys.path.insert(0,'/opt/lictor');"
        "from pathlib import Path;from enforcer.client import EnforcerClient;"
        "from controlplane.contract.wire import RequestError\n"
        "with EnforcerClient(Path('/run/lictor/calls/calls.sock')) as c:\n"
        "  for f in ({'target': os.getpid()}, {'target': os.getppid()}):\n"
        "    try: c.request('begin', id='forged', **f); print('granted')\n"
        "    except RequestError as e: print(e.code)\n"
    )
    done = subprocess.run(
        ["lictor", "call", "exec", "--id", "m1", "--", "bash", "-c",
         '"$0" -c "$1"; ' + knock(10600, "m1"), sys.executable, forge],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    codes["inside_call"] = done.stdout.strip()
    RESULTS["codes"] = codes


def grants() -> None:
    """The GPU node has no driver here: allowed shows as ENXIO, denied as EPERM."""

    def opened() -> str:
        return (
            subprocess.run(
                ["cat", "/tmp/executor-gpu"], capture_output=True, text=True, check=False
            )
            .stderr.rpartition(":")[2]
            .strip()
        )

    os.mknod("/tmp/executor-gpu", 0o20666, os.makedev(195, 0))
    results: queue.Queue[str] = queue.Queue()
    results.put(opened())
    with EnforcerClient(SOCKET) as client:
        call = client.request("begin", id="g1", thread=threading.get_native_id())["call"]
        results.put(opened())
        client.request("end", call=call)
    results.put(opened())
    RESULTS["gpu"] = [results.get() for _ in range(3)]


def main() -> None:
    # Whoever waits for ever says where.
    faulthandler.dump_traceback_later(SECONDS, exit=True)
    for scenario in (
        grants, thread_binding, parallel_threads, target_binding, daemon_left_behind, held_call,
        forgeries,
    ):  # fmt: skip
        scenario()
    print(json.dumps({"truth": TRUTH, **RESULTS}))


if __name__ == "__main__":
    main()
