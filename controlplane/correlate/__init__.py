# SPDX-License-Identifier: Apache-2.0
"""From events to incidents: plain data in, plain data out, no clock, no database."""
