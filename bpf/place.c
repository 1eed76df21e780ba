/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Where a file lies: its path below the root folder with which the workload was entered,
 * whatever mounts, roots and namespaces the workload has made for itself since.
 *
 *   a file on a mount of that namespace   walk up to the root folder, from mount to mount
 *   on any other mount (another mount     the same file system has a mount in that namespace
 *   namespace, a detached tree)           that holds the file: walk up from there
 *   no such mount                         nowhere: look-alike, memfd, a file system of its own
 *
 * Walks take no locks: what is read is copied, bounded, and at worst a path that a rename at
 * the same moment could have given as well. d_path would tell the path from the task's own
 * root, which the task may choose, and cannot be called in all the hooks that need it.
 */
#define MAX_DEPTH 96		/* folders and mounts of one path */
#define CLOCK_TICK 10000000	/* ns: file systems may take the time of the last tick */
#define FUSE_SUPER_MAGIC 0x65735546
#define MAX_MOUNT_STEPS 256	/* looking for a mount: mounts of the file system, folders of each */

/* These lie side by side: one read for a step of a walk. */
struct dentry_step {
	u64 parent;
	u32 hash;
	u32 length;
	u64 name;
};
struct mount_step {
	u64 parent;
	u64 mountpoint;
	u64 root;
};
_Static_assert(__builtin_offsetof(struct dentry, d_name) ==
	       __builtin_offsetof(struct dentry, d_parent) + 8, "a step of folders is one read");
_Static_assert(__builtin_offsetof(struct mount, mnt) ==
	       __builtin_offsetof(struct mount, mnt_parent) + 16, "a step of mounts is one read");

enum outcome { TOO_LONG, ON_TOP, AT_ROOT };

static ALWAYS_INLINE u64 read_word(u64 address)
{
	u64 word = 0;

	bpf_probe_read_kernel(&word, sizeof(word), (void *)address);
	return word;
}

/* struct mount holds the struct vfsmount that all others know. */
static ALWAYS_INLINE u64 mount_of(struct vfsmount *mount)
{
	return (u64)mount - __builtin_offsetof(struct mount, mnt);
}

/* A number that is never given out again; 0 for trees that are attached nowhere. */
static ALWAYS_INLINE u64 namespace_of_mount(u64 mount)
{
	u64 namespace = read_word(mount + __builtin_offsetof(struct mount, mnt_ns));

	return read_word(namespace + MOUNT_NAMESPACE_ID);
}

static ALWAYS_INLINE struct root *root_in(u64 workload, u64 namespace)
{
	struct root_key key = { .workload = workload, .namespace = namespace };

	return namespace ? LOOKUP(roots, &key) : 0;
}

/* Whoever entered from outside says with this where the workload's paths begin. */
static ALWAYS_INLINE void take_root(u64 workload, u64 cgroup, struct task_struct *task)
{
	struct root_key key = {
		.workload = workload,
		.namespace = read_word((u64)task->nsproxy->mnt_ns + MOUNT_NAMESPACE_ID),
	};
	struct root root = {
		.mount = mount_of(task->fs->root.mnt),
		.dentry = (u64)task->fs->root.dentry,
		.cgroup = cgroup,
	};
	struct control *control = control_of();

	if (control)
		root.sealed = bpf_ktime_get_tai_ns() - control->tai_offset - CLOCK_TICK;
	if (key.namespace)
		bpf_map_update_elem(MAP(roots), &key, &root, BPF_NOEXIST);
}

/*
 * Point the place at the same file system's mount, in a namespace of the workload's, that has it.
 * What lasts lies in the map: of what is on the stack, the verifier would follow each value
 * through the whole loop, and through all that comes after it. So, too, in write_path.
 */
static ALWAYS_INLINE void find_mount(volatile struct place *place, u64 workload)
{
	u64 head = read_word(place->dentry + __builtin_offsetof(struct dentry, d_sb)) +
		   SUPER_BLOCK_MOUNTS;
	u64 link = read_word(head);
	u64 top = 0, cursor = 0, parent;

	place->candidate = 0;
#pragma clang loop unroll(disable)
	for (int step = 0; step < MAX_MOUNT_STEPS; step++) {
		if (!place->candidate) {
			struct root *root;
			u64 mount;

			if (!link || link == head)
				return;
			mount = link - MOUNT_LINK;
			link = read_word(mount + MOUNT_NEXT);
			root = root_in(workload, namespace_of_mount(mount));
			if (!root)
				continue;
			place->candidate = mount;
			place->root_mount = root->mount;
			place->root_dentry = root->dentry;
			place->sealed = root->sealed;
			top = read_word(mount + __builtin_offsetof(struct mount, mnt));
			cursor = place->dentry;
		}
		if (cursor == top) {
			place->mount = place->candidate;
			return;
		}
		parent = read_word(cursor + __builtin_offsetof(struct dentry, d_parent));
		if (parent == cursor)
			place->candidate = 0;
		cursor = parent;
	}
}

/* Deleted, or never linked: there is nothing by which rules could know it. */
static ALWAYS_INLINE bool is_unlinked(struct file *file, u64 dentry)
{
	return !file->f_inode->i_nlink ||
	       !read_word(dentry + __builtin_offsetof(struct dentry, d_hash.pprev));
}

/*
 * The path by which it was opened: of a file below an overlay, which a mapping may hold, that
 * overlay's. The bit that tells such a file may mean something else, so the path must make sense.
 */
static ALWAYS_INLINE u64 path_of(struct file *file)
{
#ifdef BACKING_FILE_PATH
	u64 path = (u64)file + BACKING_FILE_PATH, mount, dentry, filesystem;

	if (file->f_mode & FMODE_BACKING) {
		mount = read_word(path);
		dentry = read_word(path + __builtin_offsetof(struct path, dentry));
		filesystem = read_word(dentry + __builtin_offsetof(struct dentry, d_sb));
		if (filesystem && filesystem == read_word(mount + __builtin_offsetof(
							  struct vfsmount, mnt_sb)))
			return path;
	}
#endif
	return (u64)&file->f_path;
}

static ALWAYS_INLINE bool is_settled(u64 cgroup)
{
	struct scope *scope = LOOKUP(scopes, &cgroup);

	return !scope || scope->flags & SCOPE_SETTLED;
}

/*
 * The root of a namespace in which nobody has entered this workload from outside. That of the
 * slice above, from which its tasks have come; or, where the policy is so new that nobody has
 * looked who was there before it, the current task's own.
 */
static ALWAYS_INLINE struct root *late_root(struct subject *s, u64 namespace)
{
	struct root_key key = { .workload = s->workload, .namespace = namespace };
	u64 cgroup = s->cgroup;
	struct scope *scope = LOOKUP(scopes, &cgroup);
	struct root *above;

	if (!scope || !namespace)
		return 0;
	above = scope->parent ? root_in(scope->parent, namespace) : 0;
	if (above)
		bpf_map_update_elem(MAP(roots), &key, above, BPF_NOEXIST);
	else if (!(scope->flags & SCOPE_SETTLED))
		take_root(s->workload, s->cgroup, bpf_get_current_task_btf());
	return root_in(s->workload, namespace);
}

static ALWAYS_INLINE void find_place(struct subject *s, struct file *file, struct place *place)
{
	struct task_struct *task = bpf_get_current_task_btf();
	u64 path = path_of(file), namespace;
	struct root *root;

	place->mount = mount_of((void *)read_word(path));
	place->dentry = read_word(path + __builtin_offsetof(struct path, dentry));
	place->unlinked = is_unlinked(file, place->dentry);
	place->root_mount = 0;
	place->root_dentry = 0;
	namespace = namespace_of_mount(place->mount);
	root = root_in(s->workload, namespace);
	place->sealed = root ? root->sealed : 0;
	/* It sets up what it will start: its root is what the workload's will be, or the host's. */
	if (s->flags & TAG_ENTERING) {
		place->root_mount = mount_of(task->fs->root.mnt);
		place->root_dentry = (u64)task->fs->root.dentry;
		return;
	}
	root = root ?: late_root(s, namespace);
	if (root) {
		place->root_mount = root->mount;
		place->root_dentry = root->dentry;
		place->sealed = root->sealed;
	} else if (!place->unlinked) {
		find_mount(place, s->workload);
	}
}

/*
 * Write the file's path to scratch->path, which has `room` bytes and NAME_ROOM more: from its end
 * backwards, then to its start. Returns its length with the NUL, 0 where it does not fit.
 */
static ALWAYS_INLINE u32 write_path(struct exec_scratch *scratch, u32 room)
{
	volatile struct place *place = &scratch->place;
	u64 dentry = place->dentry, mount = place->mount;
	char *path = scratch->path;
	struct mount_step tree = {};
	u64 at = room - 1;
	u64 length;

	path[at] = 0;
	if (place->unlinked) {
		at -= sizeof(" (deleted)") - 1;
		__builtin_memcpy(path + at, " (deleted)", sizeof(" (deleted)") - 1);
	}
	place->start = at;
	place->outcome = TOO_LONG;
	bpf_probe_read_kernel(&tree, sizeof(tree),
			      (void *)mount + __builtin_offsetof(struct mount, mnt_parent));
#pragma clang loop unroll(disable)
	for (int depth = 0; depth < MAX_DEPTH; depth++) {
		struct dentry_step step = {};

		if (mount == place->root_mount && dentry == place->root_dentry) {
			place->outcome = AT_ROOT;
			break;
		}
		if (dentry == tree.root) {
			if (mount == tree.parent) {
				place->outcome = ON_TOP;
				break;
			}
			mount = tree.parent;
			dentry = tree.mountpoint;
			bpf_probe_read_kernel(&tree, sizeof(tree), (void *)mount +
					      __builtin_offsetof(struct mount, mnt_parent));
			continue;
		}
		bpf_probe_read_kernel(&step, sizeof(step), (void *)dentry +
				      __builtin_offsetof(struct dentry, d_parent));
		length = step.length;
		if (!length || length >= NAME_ROOM)
			break;
		/* Changes nothing: the verifier loses what the comparison has said. */
		asm volatile("%0 &= 0xff" : "+r"(length));
		at = place->start - length - 1;
		asm volatile("" : "+r"(at));
		if (at >= room)
			break;
		path[at] = '/';
		bpf_probe_read_kernel(path + at + 1, length, (void *)step.name);
		place->start = at;
		/* A file without a folder, such as a memfd, or the top of a file system. */
		if (step.parent == dentry) {
			place->outcome = ON_TOP;
			if (path[at + 1] == '/')
				place->start = at + 2;
			break;
		}
		dentry = step.parent;
	}
	at = place->start;
	if (place->outcome == TOO_LONG || at >= room)
		return 0;
	length = room - at;
	asm volatile("" : "+r"(length));
	if (length > room)
		return 0;
	bpf_probe_read_kernel(path, length, path + at);
	return length;
}

/* No rule can speak of it: it has no name, or its path is not one of the workload's. */
static ALWAYS_INLINE bool is_nowhere(struct place *place)
{
	return place->unlinked || place->outcome != AT_ROOT;
}

/* Written, replaced, renamed or linked since; or on a file system whose server tells the times. */
static ALWAYS_INLINE bool is_changed(struct place *place, struct file *file)
{
	u64 inode = (u64)file->f_inode, changed;
	u32 nanoseconds = 0;

	if (!place->sealed)
		return false;
	bpf_probe_read_kernel(&nanoseconds, sizeof(nanoseconds),
			      (void *)inode + INODE_CHANGED_NANOSECONDS);
	/* The highest bit is the kernel's own mark: fs/inode.c, multigrain time. */
	changed = read_word(inode + INODE_CHANGED) * 1000000000 + (nanoseconds & 0x7fffffff);
	return changed >= place->sealed || file->f_inode->i_sb->s_magic == FUSE_SUPER_MAGIC;
}
