# SPDX-License-Identifier: Apache-2.0
"""The control plane's record: all that it knows, in one SQL database.

`Database` gives connections; the other modules hold functions that take one, so that a caller
puts several of them into one transaction.
"""
