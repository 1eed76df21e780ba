# SPDX-License-Identifier: Apache-2.0
"""The `lictor` command, one module per group of subcommands, imported when it is used."""
