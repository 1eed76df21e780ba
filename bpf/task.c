/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Tags and scopes over time: a child gets its parent's tag, a cgroup its parent's scope.
 *
 *   task_alloc     copies the tag; a covered parent whose child cannot be tagged cannot fork
 *   cgroup_mkdir   covers a new cgroup before anything can be in it
 *   cgroup_rmdir   forgets it
 */
int task_task_alloc(u64 *ctx)
{
	struct task_struct *parent = bpf_get_current_task_btf();
	struct task_struct *child = (struct task_struct *)ctx[0];
	u64 clone_flags = ctx[1];
	struct thread_call *call;
	struct subject s;
	struct tag *from, *to;
	u32 tid;

	if (!subject_of_current(&s))
		return 0;
	from = bpf_task_storage_get(MAP(tags), parent, 0, 0);
	to = from ? bpf_task_storage_get(MAP(tags), child, 0, BPF_LOCAL_STORAGE_GET_F_CREATE) : 0;
	if (!to) {
		report(&s, KIND_FORK, DECISION_DENIED, REASON_NO_STORAGE);
		return -ENOMEM;
	}
	*to = *from;
	/* A new thread is not the call's child: an executor's pool may grow during a call. */
	if (clone_flags & CLONE_THREAD)
		return 0;
	tid = (u32)bpf_get_current_pid_tgid();
	call = LOOKUP(thread_calls, &tid);
	if (call && call->start == parent->start_boottime) {
		to->call = call->call;
		to->grants = GRANT_BASE;
		to->flags &= ~TAG_AFTER;
	}
	return 0;
}

/* Only here, atomically: a lost bit would leave a cgroup uncovered. */
static ALWAYS_INLINE void set_filter(u64 cgroup)
{
	u32 word = (cgroup >> 6) & (FILTER_WORDS - 1);
	u64 *bits = LOOKUP(scope_filter, &word);

	if (bits)
		__sync_fetch_and_or(bits, 1ULL << (cgroup & 63));
}

static ALWAYS_INLINE void set_scope(u64 cgroup, struct scope *scope)
{
	struct control *control = control_of();

	set_filter(cgroup);
	if (bpf_map_update_elem(MAP(scopes), &cgroup, scope, BPF_ANY) && control)
		__sync_fetch_and_add(&control->overflow, 1);
}

static ALWAYS_INLINE void report_workload(struct scope *scope, u64 cgroup, u32 kind)
{
	struct subject s = {
		.cgroup = cgroup, .workload = scope->workload, .policy = scope->policy,
		.grants = GRANT_BASE | scope->grants,
	};

	report(&s, kind, DECISION_ALLOWED, REASON_NONE);
}

static ALWAYS_INLINE bool unified(struct cgroup *cgroup)
{
	struct cgroup_root *root = READ(cgroup, root);

	return root && !READ(root, hierarchy_id);
}

/* How the scopes begin that podman and CRI-O make for monitors: MONITORS in enforcer/cgroups.py. */
#define MONITOR_PODMAN "libpod-conmon-"
#define MONITOR_CRIO "crio-conmon-"

/* Unrolled, so that it is all constants: there is no memcmp to call. */
static ALWAYS_INLINE bool begins(const char *name, const char *with, u32 length)
{
	u8 differs = 0;

#pragma clang loop unroll(full)
	for (u32 i = 0; i < length; i++)
		differs |= name[i] ^ with[i];
	return !differs;
}

static ALWAYS_INLINE bool is_monitor(struct kernfs_node *node)
{
	char name[16] = {};

	bpf_probe_read_kernel_str(name, sizeof(name), READ(node, name));
	return begins(name, MONITOR_PODMAN, sizeof(MONITOR_PODMAN) - 1) ||
	       begins(name, MONITOR_CRIO, sizeof(MONITOR_CRIO) - 1);
}

static ALWAYS_INLINE bool outside(struct task_struct *task)
{
	u64 cgroup = bpf_get_current_cgroup_id();

	if (task->bpf_storage && bpf_task_storage_get(MAP(tags), task, 0, 0))
		return false;
	return !LOOKUP(scopes, &cgroup);
}

/*
 * The monitor starts the container runtime, which is software of the host: no workload. Who is
 * in one, or came from one, cannot make itself such a place.
 */
static ALWAYS_INLINE bool made_for_monitor(struct kernfs_node *node)
{
	return is_monitor(node) && outside(bpf_get_current_task_btf());
}

/* A function of its own, so that its key's place on the stack is free again afterwards. */
static ALWAYS_INLINE struct selector *selector_of(const char *path)
{
	struct selector_key key = { .prefix_bits = 8 * RULE_PATH_SIZE };

	if (bpf_probe_read_kernel_str(key.path, sizeof(key.path), path) < 0)
		return 0;
	return LOOKUP(selectors, &key);
}

int task_cgroup_mkdir(u64 *ctx)
{
	struct cgroup *cgroup = (struct cgroup *)ctx[0];
	const char *path = (const char *)ctx[1];
	struct scope *above, fresh = {};
	struct selector *selector;
	struct kernfs_node *node, *node_above;
	struct cgroup *parent;
	u64 id, parent_id;
	bool monitor;

	if (!unified(cgroup))
		return 0;
	node = READ(cgroup, kn);
	id = READ(node, id);
	monitor = made_for_monitor(node);
	parent = READ(cgroup, parent);
	node_above = parent ? READ(parent, kn) : 0;
	parent_id = node_above ? READ(node_above, id) : 0;
	above = LOOKUP(scopes, &parent_id);
	if (above) {
		fresh = *above;
		if (above->flags & SCOPE_CHILDREN) {
			if (monitor)
				return 0;
			fresh.parent = above->workload;
			fresh.workload = id;
			fresh.flags &= ~SCOPE_CHILDREN;
		}
	} else {
		selector = selector_of(path);
		if (!selector)
			return 0;
		if (selector->flags & SELECTOR_CHILD && monitor)
			return 0;
		fresh.workload = id;
		fresh.policy = selector->policy;
		fresh.flags = SCOPE_SETTLED;
		if (selector->flags & SELECTOR_CHILDREN)
			fresh.flags |= SCOPE_CHILDREN;
	}
	set_scope(id, &fresh);
	if (fresh.workload == id)
		report_workload(&fresh, id, KIND_WORKLOAD);
	return 0;
}

int task_cgroup_rmdir(u64 *ctx)
{
	struct cgroup *cgroup = (struct cgroup *)ctx[0];
	struct kernfs_node *node;
	struct scope *scope;
	u64 id;

	if (!unified(cgroup))
		return 0;
	node = READ(cgroup, kn);
	id = READ(node, id);
	bpf_map_delete_elem(MAP(homes), &id);
	scope = LOOKUP(scopes, &id);
	if (!scope)
		return 0;
	if (scope->workload == id)
		report_workload(scope, id, KIND_WORKLOAD_END);
	bpf_map_delete_elem(MAP(scopes), &id);
	return 0;
}
