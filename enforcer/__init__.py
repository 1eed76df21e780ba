# SPDX-License-Identifier: Apache-2.0
"""The node's side of Lictor: loader, agent, command line."""

VERSION = "0.1.0"
