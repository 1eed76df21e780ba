/* SPDX-License-Identifier: GPL-2.0-only */
/* Read first by bcc in place of the kernel's own configuration. */
#define CONFIG_BPF_SYSCALL 1
