/* SPDX-License-Identifier: GPL-2.0-only */
/* Named by bcc's headers; nothing in it is needed here. */
