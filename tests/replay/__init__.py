# SPDX-License-Identifier: Apache-2.0
"""The ROME replay: one trajectory with real programs, judged from the far side."""
