# SPDX-License-Identifier: Apache-2.0
"""The REST API, version 1: one module per kind of resource, and the table of all routes."""
