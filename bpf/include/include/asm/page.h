/* SPDX-License-Identifier: GPL-2.0-only */
/* bcc sizes its ring buffers by it; our maps are not bcc's. */
#define PAGE_SIZE 4096
