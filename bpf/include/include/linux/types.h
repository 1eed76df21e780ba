/* SPDX-License-Identifier: GPL-2.0-only */
/* The kernel's short integer names, for bcc's own headers and for ours. */
#ifndef LICTOR_LINUX_TYPES_H
#define LICTOR_LINUX_TYPES_H
typedef unsigned char __u8, u8;
typedef signed char __s8, s8;
typedef unsigned short __u16, u16;
typedef short __s16, s16;
typedef unsigned int __u32, u32;
typedef int __s32, s32;
typedef unsigned long long __u64, u64;
typedef long long __s64, s64;
typedef __u16 __be16, __le16, __sum16;
typedef __u32 __be32, __le32, __wsum;
typedef __u64 __be64, __le64;
typedef u64 __aligned_u64 __attribute__((aligned(8)));
typedef unsigned short umode_t;
typedef u32 dev_t;
typedef int pid_t;
typedef unsigned long size_t;
typedef unsigned long uintptr_t;
typedef _Bool bool;
enum { false = 0, true = 1 };
#endif
