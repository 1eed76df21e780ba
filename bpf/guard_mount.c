/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The guard `mount`: a workload may not change what its home shows, that is the mount
 * namespace that it was started in. In a mount namespace that it made later it may mount,
 * as long as nothing of it reaches home: not below a shared mount, which passes on what is
 * mounted there, and not by changing a file system (remount), which has one state for all.
 *
 *   sb_mount        mount(2)
 *   sb_kern_mount   mount(2) and fsmount(2) of a file system: also judges its disk
 *   sb_remount      a file system's own options
 *   sb_umount, move_mount, sb_pivotroot
 */
#define MS_REMOUNT (1u << 5)		/* include/uapi/linux/mount.h */
#define MS_BIND (1u << 12)
#define MS_PROPAGATION (1u << 17 | 1u << 18 | 1u << 19 | 1u << 20)

static ALWAYS_INLINE struct home *home_of(struct subject *s)
{
	u64 workload = s->workload;

	take_home(workload, bpf_get_current_task_btf());
	return LOOKUP(homes, &workload);
}

static ALWAYS_INLINE bool at_home(struct subject *s)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct home *home = home_of(s);

	return !home || task->nsproxy->mnt_ns->ns.inum == home->mount_namespace;
}

/* Peers of a shared mount get what is mounted on it (fs/pnode.c). */
static ALWAYS_INLINE bool shared(struct mount *mount)
{
	return READ(mount, mnt_group_id);
}

static ALWAYS_INLINE int refuse_mount(struct subject *s, u32 operation)
{
	struct crossing crossing = {
		.guard = GUARD_MOUNT, .operation = operation, .reason = REASON_GUARD,
	};

	return refuse(s, &crossing);
}

int guard_sb_mount(u64 *ctx)
{
	struct path *path = (struct path *)ctx[1];
	u32 flags = ctx[3];
	struct subject s;
	/* As do_mount() reads them: a propagation flag beside MS_BIND says nothing. */
	bool attaches = !(flags & MS_REMOUNT) && (flags & MS_BIND || !(flags & MS_PROPAGATION));

	if (!guarded(&s, GUARD_MOUNT))
		return 0;
	if (!at_home(&s) && !(attaches && shared((struct mount *)mount_of(path->mnt))))
		return 0;
	return refuse_mount(&s, flags & MS_REMOUNT ? OPERATION_REMOUNT : OPERATION_MOUNT);
}

int guard_sb_umount(u64 *ctx)
{
	struct mount *mount = (struct mount *)mount_of((struct vfsmount *)ctx[0]);
	struct subject s;

	if (!guarded(&s, GUARD_MOUNT))
		return 0;
	if (!at_home(&s) && !shared(READ(mount, mnt_parent)))
		return 0;
	return refuse_mount(&s, OPERATION_UNMOUNT);
}

int guard_move_mount(u64 *ctx)
{
	struct path *to = (struct path *)ctx[1];
	struct subject s;

	if (!guarded(&s, GUARD_MOUNT))
		return 0;
	if (!at_home(&s) && !shared((struct mount *)mount_of(to->mnt)))
		return 0;
	return refuse_mount(&s, OPERATION_MOVE_MOUNT);
}

/* The kernel itself refuses to pivot among shared mounts. */
int guard_sb_pivotroot(u64 *ctx)
{
	struct subject s;

	if (!guarded(&s, GUARD_MOUNT) || !at_home(&s))
		return 0;
	return refuse_mount(&s, OPERATION_PIVOT_ROOT);
}

int guard_sb_remount(u64 *ctx)
{
	struct super_block *super = (struct super_block *)ctx[0];
	struct subject s;
	struct home *home;

	if (!guarded(&s, GUARD_MOUNT))
		return 0;
	home = home_of(&s);
	if (!at_home(&s) && home && super->s_user_ns->ns.inum != home->user_namespace)
		return 0;
	return refuse_mount(&s, OPERATION_REMOUNT);
}
