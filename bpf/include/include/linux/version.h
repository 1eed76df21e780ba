/* SPDX-License-Identifier: GPL-2.0-only */
/* bcc picks helper names by version; every kernel we run on has all that we use. */
#define KERNEL_VERSION(a, b, c) (((a) << 16) + ((b) << 8) + (c))
#define LINUX_VERSION_CODE KERNEL_VERSION(6, 1, 0)
