/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What is told: fill an event's head and hand it to a ring. Nothing here changes a decision.
 *
 * Denials and audits have a ring of their own; of it one workload may hold DENIAL_QUOTA
 * unread bytes, so that a flood in one workload cannot hide another's first denial.
 * Each loss is counted per workload; sequence numbers show where it was.
 */
struct verdict {
	u8 decision;		/* enum decision */
	u8 reason;		/* enum reason */
	u16 rule;
	u32 flags;		/* enum tag_flag, of this event only; set by conclude */
};

static ALWAYS_INLINE struct workload *workload_of(u64 id)
{
	struct workload *workload = LOOKUP(workloads, &id);

	if (!workload) {
		struct workload fresh = {};

		bpf_map_update_elem(MAP(workloads), &id, &fresh, BPF_NOEXIST);
		workload = LOOKUP(workloads, &id);
	}
	return workload;
}

/*
 * `alone`: a denial here ends the chain of programs, so of two attached sets (during an upgrade)
 * only the one that denies has run to its end, and it tells. All else the owner tells.
 */
static ALWAYS_INLINE void emit(struct event *event, u64 size, bool alone)
{
	struct control *control = control_of();
	u64 id = event->workload;
	struct workload *workload;
	u64 *consumed;

	if (!control)
		return;
	if (control->owner != PROGRAM_SET && !(alone && event->decision == DECISION_DENIED))
		return;
	count(event->kind, event->decision, event->reason);
	workload = workload_of(id);
	event->sequenced = workload ? 1 : 0;
	event->sequence = workload ? __sync_fetch_and_add(&workload->sequence, 1) + 1 : 0;
	if (event->decision == DECISION_ALLOWED) {
		long error = bpf_ringbuf_output(MAP(activity), event, size, 0);

		if (workload)
			__sync_fetch_and_add(error ? &workload->lost_activity
						   : &workload->delivered, 1);
		return;
	}
	if (workload) {
		u64 bytes = __sync_fetch_and_add(&workload->denial_bytes, size) + size;

		consumed = LOOKUP(consumed, &id);
		/* Signed: an agent that died at the wrong moment has credited some bytes twice. */
		if ((s64)(bytes - (consumed ? *consumed : 0)) > DENIAL_QUOTA) {
			__sync_fetch_and_add(&workload->denial_bytes, -size);
			__sync_fetch_and_add(&workload->suppressed, 1);
			return;
		}
	}
	if (bpf_ringbuf_output(MAP(denials), event, size, 0)) {
		if (workload) {
			__sync_fetch_and_add(&workload->denial_bytes, -size);
			__sync_fetch_and_add(&workload->lost_denials, 1);
		}
	} else if (workload) {
		__sync_fetch_and_add(&workload->delivered, 1);
	}
}

static ALWAYS_INLINE void fill_verdict(struct event *event, u32 kind, struct subject *s,
				       struct verdict *verdict)
{
	event->version = EVENT_VERSION;
	event->kind = kind;
	event->decision = verdict->decision;
	event->reason = verdict->reason;
	event->rule = verdict->rule;
	event->time = bpf_ktime_get_boot_ns();
	event->workload = s->workload;
	event->cgroup = s->cgroup;
	event->call = s->call;
	event->start = 0;
	event->parent = 0;
	event->policy = s->policy;
	event->revision = s->ruleset ? s->ruleset->revision : 0;
	event->grants = s->grants;
	event->flags = s->flags | verdict->flags;
}

static ALWAYS_INLINE void fill_head(struct event *event, u32 kind, struct subject *s,
				    struct verdict *verdict)
{
	u64 ids = bpf_get_current_pid_tgid();

	fill_verdict(event, kind, s, verdict);
	event->pid = ids >> 32;
	event->tid = (u32)ids;
	event->uid = (u32)bpf_get_current_uid_gid();
	bpf_get_current_comm(event->comm, sizeof(event->comm));
}

/* Only where a hook may see the task itself: not in cgroup programs before 7.x. */
static ALWAYS_INLINE void fill_process(struct event *event)
{
	struct task_struct *task = bpf_get_current_task_btf();

	event->start = task->group_leader->start_boottime;
	event->parent = task->real_parent->tgid;
}

/* Read here and not cached in tags: it ends by itself, whether or not any process of ours runs. */
static ALWAYS_INLINE bool exempt(struct subject *s)
{
	u64 id = s->workload;
	struct exemption *exemption = LOOKUP(exemptions, &id);

	return exemption && exemption->until > bpf_ktime_get_boot_ns();
}

/*
 * Turn a finding into what the hook returns. Denied stays denied only if the policy
 * enforces and the workload is not exempt; without any ruleset there is nothing to ask,
 * so it is denied.
 */
static ALWAYS_INLINE int conclude(struct subject *s, struct verdict *verdict)
{
	verdict->flags = 0;
	if (verdict->decision != DECISION_DENIED)
		return 0;
	if (s->ruleset && s->ruleset->mode == MODE_AUDIT) {
		verdict->decision = DECISION_AUDITED;
		return 0;
	}
	if (exempt(s)) {
		verdict->decision = DECISION_AUDITED;
		verdict->flags = TAG_EXEMPT;
		return 0;
	}
	if (!s->ruleset)
		return -EPERM;
	/* Constants: 6.12 and later must see that the result is an errno. */
	switch (s->ruleset->error) {
	case ENOENT:
		return -ENOENT;
	case EACCES:
		return -EACCES;
	case ECONNREFUSED:
		return -ECONNREFUSED;
	}
	return -EPERM;
}

/* The common beginning of every judgement: is there a reason to deny before any rule? */
static ALWAYS_INLINE bool denied_outright(struct subject *s, struct verdict *verdict)
{
	verdict->decision = DECISION_DENIED;
	verdict->rule = NO_RULE;
	verdict->reason = s->reason;
	return s->reason || !s->ruleset;
}

static ALWAYS_INLINE bool any_allowed(struct subject *s, u32 section, struct verdict *verdict)
{
	if (!(s->ruleset->any[section] & s->grants))
		return false;
	verdict->decision = DECISION_ALLOWED;
	verdict->reason = REASON_ANY;
	verdict->rule = s->ruleset->any_rule[section];
	return true;
}

static ALWAYS_INLINE void report(struct subject *s, u32 kind, u8 decision, u8 reason)
{
	struct verdict verdict = { .decision = decision, .reason = reason, .rule = NO_RULE };
	struct event event = {};

	fill_head(&event, kind, s, &verdict);
	emit(&event, sizeof(event), true);
}

static ALWAYS_INLINE void report_escape(struct subject *s)
{
	report(s, KIND_ESCAPE, DECISION_AUDITED, REASON_ESCAPED);
}
