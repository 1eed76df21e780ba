# SPDX-License-Identifier: Apache-2.0
"""Exit statuses of `lictor`, their text for every --help, and the error that names one."""

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_UNAVAILABLE = 3
EXIT_NOT_ENFORCING = 4
EXIT_NOT_STARTED = 125
EXIT_NOT_EXECUTABLE = 126
EXIT_NOT_FOUND = 127

EXIT_CODES = """\
exit status:
  0    done            1  refused or failed: the message names what and why
  2    wrong usage     3  the agent or the control plane does not answer
  4    this node does not enforce
  run and call exec give back the command's own status (128+N: ended by signal N), or
  125  Lictor could not start it   126  it may not or cannot run   127  it was not found
"""


class CommandFailed(Exception):
    """A command ends with a message, of one line or several, and a status of its own."""

    def __init__(self, text: str, status: int = EXIT_FAILED) -> None:
        super().__init__(text)
        self.status = status
