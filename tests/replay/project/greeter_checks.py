# SPDX-License-Identifier: Apache-2.0
"""The small project's own tests, run by the replayed agent with pytest."""

import socket
import subprocess


def ask(port: int) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
        with connection.makefile("rb") as answer:
            return answer.read()


def test_greets_and_ends() -> None:
    command = ["./greeter", "8099", "1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        assert server.stdout.readline() == b"listening\n"
        assert ask(8099).endswith(b"hello from greeter.\n")
        assert server.wait(timeout=30) == 0


def test_explains_its_usage() -> None:
    done = subprocess.run(["./greeter"], capture_output=True, check=False)
    assert done.returncode == 2
    assert b"usage" in done.stderr
