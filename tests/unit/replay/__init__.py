# SPDX-License-Identifier: Apache-2.0
"""Tests of the replay's parts that need neither a network nor a kernel."""
