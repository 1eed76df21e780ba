# SPDX-License-Identifier: Apache-2.0
# What tests/bench/hookbench.c does where nobody denies it, and nothing else.
profile lictor-bench flags=(attach_disconnected) {
  network inet stream,
  network inet dgram,
  network unix stream,
  unix,
  /bench/allowed/** mrix,
  deny /bench/allowed/gpu rw,
  /dev/null rw,
  /proc/*/exe r,
  signal peer=lictor-bench,
}
