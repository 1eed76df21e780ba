/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Guards: what a workload may not do to what is not its own. The border is the tag: other
 * workloads and the host are beyond it, and for a tool call so is what runs in no call, such
 * as a trainer in the same container.
 *
 *   ptrace_access_check   ptrace, process_vm_*, /proc/PID/mem, pidfd_getfd; and reading
 *   ptrace_traceme        secrets of a process (environ, maps, fd)
 *   task_kill             signals that a process sends
 *
 * A guard is closed unless the policy opens it by name. Who is entering the workload is
 * trusted code from outside, and no guard holds for it. What is allowed is not told: these
 * hooks are passed all the time.
 */
#define PTRACE_MODE_ATTACH 0x02		/* include/linux/ptrace.h */
#define PTRACE_MODE_NOAUDIT 0x04

struct crossing {
	u32 guard;		/* enum guard */
	u32 operation;		/* enum operation */
	u32 detail;
	u32 target;
	u32 reason;
	bool quiet;		/* the kernel only probes: a denial there is no event */
};

/* Does this guard hold for whoever acts? False outside of workloads. */
static ALWAYS_INLINE bool guarded(struct subject *s, u32 guard)
{
	if (!subject_of_current(s) || s->flags & TAG_ENTERING)
		return false;
	return !s->ruleset || !(s->ruleset->guards_open & (1u << guard));
}

static ALWAYS_INLINE int refuse(struct subject *s, struct crossing *crossing)
{
	struct verdict verdict;
	int result;

	if (!denied_outright(s, &verdict))
		verdict.reason = crossing->reason;
	result = conclude(s, &verdict);
	if (crossing->quiet)
		return result;
	struct event event = {};
	fill_head(&event, KIND_GUARD, s, &verdict);
	fill_process(&event);
	event.guard.guard = crossing->guard;
	event.guard.operation = crossing->operation;
	event.guard.detail = crossing->detail;
	event.guard.target = crossing->target;
	emit(&event, sizeof(event), true);
	return result;
}

static ALWAYS_INLINE struct tag *tag_of(struct task_struct *task)
{
	return bpf_task_storage_get(MAP(tags), task, 0, 0);
}

/* One workload, and not a tool call that acts on what is in no call. */
static ALWAYS_INLINE bool within_border(u64 workload, u64 call, struct tag *target)
{
	return target && target->workload == workload && !(target->flags & TAG_ENTERING) &&
	       (!call || target->call);
}

/* To control or to read a process is to use what it may do: its grants, and its call's name. */
static ALWAYS_INLINE bool may_trace(u64 workload, u64 call, u32 grants, struct tag *target,
				    bool attach)
{
	if (!within_border(workload, call, target) || target->grants & ~grants)
		return false;
	return !attach || !call || target->call == call;
}

/* Programs such as ss and lsof ask for every descriptor of every process. */
static ALWAYS_INLINE bool told_already(struct task_struct *target)
{
	struct task_struct *self = bpf_get_current_task_btf();
	struct refused_read key = { .reader = self->tgid, .target = target->tgid };
	struct refused_starts starts = {
		.reader = self->group_leader->start_boottime,
		.target = target->group_leader->start_boottime,
	};
	struct refused_starts *known = LOOKUP(refused_reads, &key);

	if (known && known->reader == starts.reader && known->target == starts.target)
		return true;
	bpf_map_update_elem(MAP(refused_reads), &key, &starts, BPF_ANY);
	return false;
}

int guard_ptrace_access_check(u64 *ctx)
{
	struct task_struct *target = (struct task_struct *)ctx[0];
	u32 mode = ctx[1];
	bool attach = mode & PTRACE_MODE_ATTACH;
	struct subject s;
	struct tag *self;
	int result;

	if (!guarded(&s, GUARD_TRACE) || target->tgid == bpf_get_current_pid_tgid() >> 32)
		return 0;
	if (may_trace(s.workload, s.call, s.grants, tag_of(target), attach))
		return 0;
	struct crossing crossing = {
		.guard = GUARD_TRACE, .operation = attach ? OPERATION_ATTACH : OPERATION_READ,
		.target = target->tgid, .reason = REASON_GUARD,
		.quiet = mode & PTRACE_MODE_NOAUDIT || (!attach && told_already(target)),
	};
	result = refuse(&s, &crossing);
	self = tag_of(bpf_get_current_task_btf());
	if (result && !attach && self)
		self->flags |= TAG_READ_REFUSED;
	return result;
}

/* The parent gets control of the child that asks; from outside it may have that. */
int guard_ptrace_traceme(u64 *ctx)
{
	struct task_struct *parent = (struct task_struct *)ctx[0];
	struct tag *self, *tracer;
	struct subject s;

	if (!guarded(&s, GUARD_TRACE))
		return 0;
	tracer = tag_of(parent);
	self = tag_of(bpf_get_current_task_btf());
	if (!tracer || !self || tracer->flags & TAG_ENTERING)
		return 0;
	if (may_trace(tracer->workload, tracer->call, tracer->grants, self, true))
		return 0;
	struct crossing crossing = {
		.guard = GUARD_TRACE, .operation = OPERATION_TRACEME,
		.target = parent->tgid, .reason = REASON_GUARD,
	};
	return refuse(&s, &crossing);
}

/*
 * The kernel's own signals do not come here. One tool call may end what another has left
 * behind. Signal 0 only asks whether a process is there.
 */
int guard_task_kill(u64 *ctx)
{
	struct task_struct *target = (struct task_struct *)ctx[0];
	u32 signal = ctx[2];
	struct subject s;

	/* With credentials it is for who asked once, and is not current. */
	if (!signal || GIVEN(ctx, 3) || !guarded(&s, GUARD_SIGNAL))
		return 0;
	if (target->tgid == bpf_get_current_pid_tgid() >> 32)
		return 0;
	if (within_border(s.workload, s.call, tag_of(target)))
		return 0;
	struct crossing crossing = {
		.guard = GUARD_SIGNAL, .operation = OPERATION_SIGNAL, .detail = signal,
		.target = target->tgid, .reason = REASON_GUARD,
	};
	return refuse(&s, &crossing);
}
