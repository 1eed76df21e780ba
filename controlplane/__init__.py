# SPDX-License-Identifier: Apache-2.0
"""Control plane of Lictor: API, storage, correlation, and the contract that nodes share with it."""
