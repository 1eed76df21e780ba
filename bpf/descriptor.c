/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The guard `descriptors`: what comes into a workload already open.
 *
 *   file_receive         passed over a unix socket, by pidfd_getfd or by a seccomp notifier
 *   bprm_check (exec.c)  held by a task that enters, when it starts the first program
 *
 * A socket belongs to the workload in whose cgroup it was made, and goes on in the network
 * that it was made in: one from outside would be a way there. A device is judged as if it
 * were opened. Also a file system's disk, which mount opens by itself (sb_kern_mount).
 */
#define INHERITED_MAX 256		/* descriptors that are looked at */

/*
 * The family of a socket that was made outside of the workload; 0 for all else. removed: also
 * look for the scope of a cgroup that is gone, which takes a loop.
 */
static ALWAYS_INLINE u32 foreign_family(struct subject *s, struct file *file, bool removed)
{
	struct socket *socket = READ(file, private_data);
	struct sock *sk = socket ? READ(socket, sk) : 0;
	u32 family = sk ? READ(sk, skc_family) : 0;
	struct cgroup *cgroup;
	struct kernfs_node *node;
	struct scope *scope;
	u64 id;

	/* Names and peers of unix sockets are judged elsewhere; the others stay in the kernel. */
	if (!family || family == AF_UNIX || family == AF_NETLINK || family == AF_ALG)
		return 0;
	cgroup = READ(sk, sk_cgrp_data.cgroup);
	node = cgroup ? READ(cgroup, kn) : 0;
	id = node ? READ(node, id) : 0;
	scope = removed ? scope_of(cgroup) : LOOKUP(scopes, &id);
	return scope && scope->workload == s->workload ? 0 : family;
}

static ALWAYS_INLINE int refuse_socket(struct subject *s, u32 operation, u32 family)
{
	struct crossing crossing = {
		.guard = GUARD_DESCRIPTORS, .operation = operation, .detail = family,
		.reason = REASON_FOREIGN,
	};

	return refuse(s, &crossing);
}

int guard_file_receive(u64 *ctx)
{
	struct file *file = (struct file *)ctx[0];
	struct inode *inode = file->f_inode;
	u32 type = inode->i_mode & S_IFMT;
	struct subject s;
	u32 family;

	if (type != S_IFSOCK && type != S_IFCHR && type != S_IFBLK)
		return 0;
	if (!guarded(&s, GUARD_DESCRIPTORS))
		return 0;
	if (type != S_IFSOCK)
		return use_device(&s, type == S_IFBLK, inode->i_rdev);
	family = foreign_family(&s, file, true);
	return family ? refuse_socket(&s, OPERATION_RECEIVE, family) : 0;
}

/* A disk becomes a file system without anybody opening its node. */
int guard_sb_kern_mount(u64 *ctx)
{
	struct super_block *super = (struct super_block *)ctx[0];
	struct subject s;
	int result;

	if (!subject_of_current(&s) || s.flags & TAG_ENTERING)
		return 0;
	if (super->s_bdev) {
		result = use_device(&s, true, super->s_dev);
		if (result)
			return result;
	}
	if (!guarded(&s, GUARD_MOUNT) || !at_home(&s))
		return 0;
	return refuse_mount(&s, OPERATION_MOUNT);
}

static ALWAYS_INLINE u32 inherited_family(struct subject *s, struct task_struct *task)
{
	struct files_struct *files = task->files;
	struct fdtable *table = READ(files, fdt);
	u32 room = READ(table, max_fds);
	struct file **open = READ(table, fd);
	unsigned long *closing = READ(table, close_on_exec);
	unsigned long closes = 0;

#pragma clang loop unroll(disable)
	for (u32 i = 0; i < INHERITED_MAX; i++) {
		struct file *file = 0;
		struct inode *inode;
		u32 family;

		if (i >= room)
			break;
		if (!(i & 63))
			bpf_probe_read_kernel(&closes, sizeof(closes), closing + (i >> 6));
		if (closes >> (i & 63) & 1)
			continue;
		bpf_probe_read_kernel(&file, sizeof(file), open + i);
		inode = file ? READ(file, f_inode) : 0;
		if (!inode || (READ(inode, i_mode) & S_IFMT) != S_IFSOCK)
			continue;
		family = foreign_family(s, file, false);
		if (family)
			return family;
	}
	return 0;
}

/* What the program that enters would start with. The subject is still entering. */
static ALWAYS_INLINE int guard_inherited(struct subject *s, struct task_struct *task)
{
	u32 family;

	if (s->ruleset && s->ruleset->guards_open & (1u << GUARD_DESCRIPTORS))
		return 0;
	family = inherited_family(s, task);
	return family ? refuse_socket(s, OPERATION_INHERIT, family) : 0;
}
