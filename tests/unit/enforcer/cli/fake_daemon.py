# SPDX-License-Identifier: Apache-2.0
"""A daemon like Lictor's: runs alone, says READY, ends on SIGTERM. FAKE_DAEMON=fails: it fails."""

import os
import signal
import sys

from controlplane.contract import supervision
from enforcer import paths

if os.environ.get("FAKE_DAEMON") == "fails":
    print("no room", file=sys.stderr)
    sys.exit(7)
paths.RUN.mkdir(parents=True, exist_ok=True)
supervision.run_alone(paths.AGENT_PID)
supervision.notify(supervision.READY)
signal.pause()
