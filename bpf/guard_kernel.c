/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The guards `kernel`, `network`, `cgroups` and `pins`: state that is not one workload's.
 *
 *   capable                 CAP_SYS_MODULE, CAP_SYS_RAWIO, CAP_SYS_BOOT; CAP_NET_ADMIN;
 *                           two more where the kernel asks them about a refused read
 *   kernel_module_request   a module that the kernel would load for the task
 *   bpf, perf_event_open
 *   file_open (device.c)    for writing: files that are settings, by their file system
 *   inode_unlink, inode_rmdir, inode_rename   names of pinned objects
 */
#define CAP_NET_ADMIN 12		/* include/uapi/linux/capability.h */
#define CAP_SYS_MODULE 16
#define CAP_SYS_RAWIO 17
#define CAP_SYS_ADMIN 21
#define CAP_SYS_BOOT 22
#define CAP_PERFMON 38
#define CAP_OPT_NOAUDIT 2		/* include/linux/security.h */

/* include/uapi/linux/magic.h */
#define PROC_SUPER_MAGIC 0x9fa0
#define SYSFS_MAGIC 0x62656572
#define CGROUP2_SUPER_MAGIC 0x63677270
#define CGROUP_SUPER_MAGIC 0x27e0eb
#define BPF_FS_MAGIC 0xcafe4a11
#define TRACEFS_MAGIC 0x74726163
#define DEBUGFS_MAGIC 0x64626720
#define SECURITYFS_MAGIC 0x73636673
#define BINFMTFS_MAGIC 0x42494e4d
#define CONFIGFS_MAGIC 0x62656570	/* fs/configfs/mount.c */
#define PSTOREFS_MAGIC 0x6165676c
#define EFIVARFS_MAGIC 0xde5e81e4
#define RDTGROUP_MAGIC 0x7655821

/*
 * Does the capability reach no further than a user namespace that the workload made for
 * itself? Only then is whatever it opens (a network, say) surely the workload's own.
 */
static ALWAYS_INLINE bool own_namespace(struct subject *s, struct cred *cred,
					struct user_namespace *over)
{
	struct home *home = home_of(s);

	return home && cred->user_ns->ns.inum != home->user_namespace &&
	       over->ns.inum != home->user_namespace;
}

/*
 * Since 6.15 whoever has CAP_PERFMON, or else CAP_SYS_ADMIN, may read memory maps and the
 * environment even if the check for tracing has just refused it (kernel/fork.c,
 * may_access_mm). The kernel asks for the two in this order, and then only.
 */
static ALWAYS_INLINE bool read_is_refused(struct cred *cred, u32 capability)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct tag *tag = task->bpf_storage ? tag_of(task) : 0;
	bool asked;

	if (!tag || !(tag->flags & (TAG_READ_REFUSED | TAG_PERFMON_REFUSED)))
		return false;
	if (capability == CAP_PERFMON) {
		if (tag->flags & TAG_READ_REFUSED)
			tag->flags |= TAG_PERFMON_REFUSED;
		tag->flags &= ~TAG_READ_REFUSED;
		return tag->flags & TAG_PERFMON_REFUSED;
	}
	/* Before LSM programs the kernel looks whether the task has it at all. */
	asked = tag->flags & TAG_PERFMON_REFUSED ||
		!(cred->cap_effective.high >> (CAP_PERFMON - 32) & 1);
	if (asked)
		tag->flags &= ~(TAG_READ_REFUSED | TAG_PERFMON_REFUSED);
	return asked;
}

int guard_capable(u64 *ctx)
{
	struct cred *cred = (struct cred *)ctx[0];
	struct user_namespace *over = (struct user_namespace *)ctx[1];
	u32 capability = ctx[2], options = ctx[3];
	u32 guard = capability == CAP_NET_ADMIN ? GUARD_NETWORK : GUARD_KERNEL;
	struct subject s;

	if (capability == CAP_PERFMON || capability == CAP_SYS_ADMIN)
		return read_is_refused(cred, capability) ? -EPERM : 0;
	if (capability != CAP_NET_ADMIN && capability != CAP_SYS_MODULE &&
	    capability != CAP_SYS_RAWIO && capability != CAP_SYS_BOOT)
		return 0;
	if (!guarded(&s, guard))
		return 0;
	/* The kernel will refuse it: most programs that ask are not root. */
	if (cred->user_ns == over && !(cred->cap_effective.low >> capability & 1))
		return 0;
	if (own_namespace(&s, cred, over))
		return 0;
	struct crossing crossing = {
		.guard = guard, .operation = OPERATION_CAPABILITY, .detail = capability,
		.reason = REASON_GUARD, .quiet = options & CAP_OPT_NOAUDIT,
	};
	return refuse(&s, &crossing);
}

static ALWAYS_INLINE int refuse_kernel(u32 operation, u32 detail)
{
	struct crossing crossing = {
		.guard = GUARD_KERNEL, .operation = operation, .detail = detail,
		.reason = REASON_GUARD,
	};
	struct subject s;

	return guarded(&s, GUARD_KERNEL) ? refuse(&s, &crossing) : 0;
}

int guard_kernel_module_request(u64 *ctx)
{
	return refuse_kernel(OPERATION_MODULE_REQUEST, 0);
}

int guard_bpf(u64 *ctx)
{
	return refuse_kernel(OPERATION_BPF, ctx[0]);
}

int guard_perf_event_open(u64 *ctx)
{
	return refuse_kernel(OPERATION_PERF, 0);
}

/* /proc/PID and /proc/self belong to a process, and name it; the rest is the kernel's. */
static ALWAYS_INLINE bool of_process(struct inode *inode)
{
	struct proc_inode *entry;

	entry = (struct proc_inode *)((u64)inode -
				      __builtin_offsetof(struct proc_inode, vfs_inode));
	return READ(entry, pid);
}

/* A container engine inside the workload makes cgroups below it, and fills them. */
static ALWAYS_INLINE bool own_cgroup(struct subject *s, struct file *file)
{
	/* A file's folder is its cgroup, and the inode's number that one's id (fs/kernfs). */
	u64 cgroup = file->f_path.dentry->d_parent->d_inode->i_ino;
	struct scope *scope = LOOKUP(scopes, &cgroup);

	return scope && (scope->workload == s->workload || scope->parent == s->workload);
}

/* Nonzero: a guard's number plus one. Every open for writing passes here. */
static ALWAYS_INLINE u32 guard_of_magic(u32 magic)
{
	switch (magic) {
	case PROC_SUPER_MAGIC:
	case SYSFS_MAGIC:
	case TRACEFS_MAGIC:
	case DEBUGFS_MAGIC:
	case SECURITYFS_MAGIC:
	case BINFMTFS_MAGIC:
	case CONFIGFS_MAGIC:
	case PSTOREFS_MAGIC:
	case EFIVARFS_MAGIC:
	case RDTGROUP_MAGIC:
		return GUARD_KERNEL + 1;
	case CGROUP_SUPER_MAGIC:
	case CGROUP2_SUPER_MAGIC:
		return GUARD_CGROUPS + 1;
	}
	return 0;
}

/* An open for writing of what is no device. */
static ALWAYS_INLINE int guard_write(struct file *file, struct inode *inode)
{
	u32 magic = inode->i_sb->s_magic;
	u32 guard = guard_of_magic(magic);
	struct subject s;

	if (!guard || !guarded(&s, guard - 1))
		return 0;
	if (magic == PROC_SUPER_MAGIC && of_process(inode))
		return 0;
	if (magic == CGROUP2_SUPER_MAGIC && own_cgroup(&s, file))
		return 0;
	struct crossing crossing = {
		.guard = guard - 1, .operation = OPERATION_WRITE, .detail = magic,
		.reason = REASON_GUARD,
	};
	return refuse(&s, &crossing);
}

static ALWAYS_INLINE int guard_pins(struct inode *folder, u32 operation)
{
	struct crossing crossing = {
		.guard = GUARD_PINS, .operation = operation, .detail = BPF_FS_MAGIC,
		.reason = REASON_GUARD,
	};
	struct subject s;

	if ((u32)folder->i_sb->s_magic != BPF_FS_MAGIC)
		return 0;
	return guarded(&s, GUARD_PINS) ? refuse(&s, &crossing) : 0;
}

int guard_inode_unlink(u64 *ctx)
{
	return guard_pins((struct inode *)ctx[0], OPERATION_REMOVE);
}

int guard_inode_rmdir(u64 *ctx)
{
	return guard_pins((struct inode *)ctx[0], OPERATION_REMOVE);
}

int guard_inode_rename(u64 *ctx)
{
	return guard_pins((struct inode *)ctx[0], OPERATION_RENAME);
}
