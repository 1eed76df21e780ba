/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Exec: which programs may start, by the path at which the workload's own root has them, the
 * most specific rule winning. Judged in bprm_check_security, which the kernel calls for the
 * program and again for each interpreter of a script; its ELF loader is a mapping (mapping.c).
 */
static ALWAYS_INLINE void judge_path(struct subject *s, struct exec_scratch *scratch,
				     struct file *file, struct verdict *verdict)
{
	struct path_verdict *found;
	u32 allow;

	if (denied_outright(s, verdict))
		return;
	if (any_allowed(s, SECTION_EXEC, verdict))
		return;
	if (is_nowhere(&scratch->place)) {
		verdict->reason = scratch->place.unlinked ? REASON_CHANGED : REASON_MOUNT;
		/* A container runtime starts a copy of itself that nobody inside can reach. */
		if (s->flags & TAG_ENTERING) {
			verdict->decision = DECISION_ALLOWED;
			verdict->reason = REASON_NONE;
		}
		return;
	}
	scratch->event.exec.prefix_bits = 8 * (sizeof(u32) + RULE_PATH_SIZE);
	scratch->event.exec.ruleset = s->ruleset_id;
	found = LOOKUP(paths, &scratch->event.exec.prefix_bits);
	verdict->reason = REASON_NOT_ALLOWED;
	if (!found)
		return;
	verdict->reason = REASON_RULE;
	verdict->rule = found->base_rule;
	allow = found->allow & s->grants;
	if (!allow)
		return;
	if (allow & found->unchanged && is_changed(&scratch->place, file)) {
		allow &= ~found->unchanged;
		verdict->reason = REASON_CHANGED;
	}
	if (!allow)
		return;
	verdict->decision = DECISION_ALLOWED;
	verdict->reason = REASON_RULE;
	if (!(allow & GRANT_BASE))
		verdict->rule = found->grant_rule;
}

/* What it starts is the workload's own, whatever became of the exec after this. */
static ALWAYS_INLINE void has_entered(struct task_struct *task)
{
	struct tag *tag = bpf_task_storage_get(MAP(tags), task, 0, 0);

	if (tag)
		tag->flags &= ~TAG_ENTERING;
}

static ALWAYS_INLINE int deny_blindly(struct subject *s, u32 kind)
{
	struct verdict verdict;
	struct event event = {};
	int result;

	s->reason = s->reason ?: REASON_NO_STORAGE;
	denied_outright(s, &verdict);
	result = conclude(s, &verdict);
	fill_head(&event, kind, s, &verdict);
	emit(&event, sizeof(event), true);
	return result;
}

#define THROUGH_MEMORY(value, place) \
	({ (place) = (value); (value) = *(volatile typeof(place) *)&(place); })

/*
 * Subjects come about in many ways, and the verifier would go through all that follows for each
 * of them. What comes back from the map may be anything, so that once is enough.
 */
static ALWAYS_INLINE void unify(struct subject *s, struct event *event)
{
	u32 id = s->ruleset ? s->ruleset_id : 0;

	THROUGH_MEMORY(s->cgroup, event->cgroup);
	THROUGH_MEMORY(s->workload, event->workload);
	THROUGH_MEMORY(s->call, event->call);
	THROUGH_MEMORY(s->policy, event->policy);
	THROUGH_MEMORY(s->grants, event->grants);
	THROUGH_MEMORY(s->flags, event->flags);
	THROUGH_MEMORY(s->reason, event->reason);
	THROUGH_MEMORY(id, event->exec.ruleset);
	s->ruleset_id = id;
	s->ruleset = id ? LOOKUP(rulesets, &id) : 0;
}

/*
 * The path is written, `length` bytes with its NUL or 0; `room` is what it had, a constant. Of
 * mappings only those are told that are not allowed: there are many of the others.
 */
static ALWAYS_INLINE int judge_written(struct subject *s, struct file *file, u32 kind,
				       struct exec_scratch *scratch, u32 length, u32 room)
{
	struct verdict verdict;
	u64 size;
	int result;

	if (!length || length > room) {
		s->reason = s->reason ?: REASON_UNREADABLE;
		scratch->path[0] = 0;
		length = 1;
	}
	judge_path(s, scratch, file, &verdict);
	result = conclude(s, &verdict);
	if (kind == KIND_MAPPING && verdict.decision == DECISION_ALLOWED)
		return 0;
	fill_head(&scratch->event, kind, s, &verdict);
	fill_process(&scratch->event);
	scratch->event.exec.inode = file->f_inode->i_ino;
	scratch->event.exec.device = file->f_inode->i_sb->s_dev;
	scratch->event.exec.length = length - 1;
	size = sizeof(struct event) + length;
	/* One plain comparison of the value that is used: the verifier needs to see it so. */
	asm volatile("" : "+r"(size));
	if (size > sizeof(struct event) + room)
		size = sizeof(struct event);
	emit(&scratch->event, size, true);
	return result;
}

static ALWAYS_INLINE int guard_inherited(struct subject *s, struct task_struct *task);

/*
 * Most paths are short, so that most tasks have the small room only. They keep it while they
 * live: the program that starts maps its libraries next.
 */
static ALWAYS_INLINE int judge_file(struct subject *s, struct file *file, u32 kind,
				    struct exec_scratch *scratch)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct exec_scratch_long *long_scratch;
	u32 length;
	int result;

	unify(s, &scratch->event);
	find_place(s, file, &scratch->place);
	length = write_path(scratch, SHORT_PATH_SIZE);
	if (length)
		return judge_written(s, file, kind, scratch, length, SHORT_PATH_SIZE);
	long_scratch = bpf_task_storage_get(MAP(exec_scratch_long), task, 0,
					    BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!long_scratch)
		return deny_blindly(s, kind);
	long_scratch->head.place = scratch->place;
	length = write_path(&long_scratch->head, EVENT_PATH_SIZE);
	scratch->place.outcome = long_scratch->head.place.outcome;
	result = judge_written(s, file, kind, &long_scratch->head, length, EVENT_PATH_SIZE);
	bpf_task_storage_delete(MAP(exec_scratch_long), task);
	return result;
}

static ALWAYS_INLINE struct exec_scratch *scratch_of(struct task_struct *task)
{
	return bpf_task_storage_get(MAP(exec_scratch), task, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
}

int exec_bprm_check(u64 *ctx)
{
	struct linux_binprm *bprm = (struct linux_binprm *)ctx[0];
	struct task_struct *task = bpf_get_current_task_btf();
	struct file *file = bprm->file;
	struct exec_scratch *scratch;
	struct subject s;
	int result;

	if (!subject_of_current(&s))
		return 0;
	scratch = scratch_of(task);
	if (!scratch)
		return deny_blindly(&s, KIND_EXEC);
	result = judge_file(&s, file, KIND_EXEC, scratch);
	if (result)
		return result;
	scratch->program = (u64)file;
	/* The runtime's copy of itself goes on to set up what it will start. */
	if (s.flags & TAG_ENTERING && is_nowhere(&scratch->place))
		return 0;
	if (s.flags & TAG_ENTERING) {
		result = guard_inherited(&s, task);
		if (result)
			return result;
		take_root(s.workload, s.cgroup, task);
		has_entered(task);
	}
	take_home(s.workload, task);
	return 0;
}
