# SPDX-License-Identifier: Apache-2.0
"""All that the node and the control plane both import: policies, events, wire version.

Nothing here opens a file, a socket or the kernel, and nothing here imports either side.
"""
