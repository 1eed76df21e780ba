/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Exec: which programs may start, by path as the task's root shows it, the most specific
 * rule winning. Judged in bprm_check_security, which the kernel calls for the program and
 * again for each interpreter of a script; the ELF loader it opens itself is not judged.
 *
 * LSM programs may call d_path there. fmod_ret programs may not, but may in file_open,
 * which sees the same file a moment before; so there the path is kept until the check.
 */
/*
 * The room is allocated and zeroed at each exec, so most execs take a short one.
 * Short paths lie in front of what d_path leaves behind at the buffer's end.
 */
static ALWAYS_INLINE void read_path_into(struct exec_scratch *scratch, struct file *file,
					 u32 size)
{
	scratch->length = bpf_d_path(&file->f_path, scratch->path, size);
	scratch->file = (u64)file;
}

static ALWAYS_INLINE void read_path(struct file *file)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct exec_scratch_long *long_scratch;
	struct exec_scratch *scratch;

	scratch = bpf_task_storage_get(MAP(exec_scratch), task, 0,
				       BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!scratch)
		return;
	read_path_into(scratch, file, SHORT_PATH_SIZE);
	if (scratch->length >= 0)
		return;
	long_scratch = bpf_task_storage_get(MAP(exec_scratch_long), task, 0,
					    BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (long_scratch)
		read_path_into(&long_scratch->head, file, EVENT_PATH_SIZE);
}

static ALWAYS_INLINE void judge_path(struct subject *s, struct exec_scratch *scratch,
				     struct verdict *verdict)
{
	struct path_verdict *found;

	if (denied_outright(s, verdict))
		return;
	if (any_allowed(s, SECTION_EXEC, verdict))
		return;
	scratch->event.exec.prefix_bits = 8 * (sizeof(u32) + RULE_PATH_SIZE);
	scratch->event.exec.ruleset = s->ruleset_id;
	found = LOOKUP(paths, &scratch->event.exec.prefix_bits);
	verdict->reason = REASON_NOT_ALLOWED;
	if (!found)
		return;
	verdict->reason = REASON_RULE;
	verdict->rule = found->base_rule;
	if (!(found->allow & s->grants))
		return;
	verdict->decision = DECISION_ALLOWED;
	if (!(found->allow & GRANT_BASE))
		verdict->rule = found->grant_rule;
}

/* What it starts is the workload's own, whatever became of the exec after this. */
static ALWAYS_INLINE void has_entered(struct task_struct *task)
{
	struct tag *tag = bpf_task_storage_get(MAP(tags), task, 0, 0);

	if (tag)
		tag->flags &= ~TAG_ENTERING;
}

static ALWAYS_INLINE int deny_exec_blindly(struct subject *s)
{
	struct verdict verdict;
	struct event event = {};
	int result;

	s->reason = s->reason ?: REASON_NO_STORAGE;
	denied_outright(s, &verdict);
	result = conclude(s, &verdict);
	fill_head(&event, KIND_EXEC, s, &verdict);
	emit(&event, sizeof(event), true);
	return result;
}

#ifndef ATTACH_LSM
static ALWAYS_INLINE void keep_path(struct file *file)
{
	struct subject s;

	if (subject_of_current(&s))
		read_path(file);
}
#endif

/* `room` is the size of the path's buffer, a constant. */
static ALWAYS_INLINE int judge_exec(struct subject *s, struct file *file,
				    struct exec_scratch *scratch, u32 room)
{
	struct verdict verdict;
	u32 length;
	u64 size;
	int result;

	if (scratch->length < 1 || scratch->length > room)
		s->reason = s->reason ?: REASON_UNREADABLE;
	judge_path(s, scratch, &verdict);
	result = conclude(s, &verdict);
	length = scratch->length;
	if (length < 1 || length > room) {
		length = 1;
		scratch->path[0] = 0;
	}
	fill_head(&scratch->event, KIND_EXEC, s, &verdict);
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

int exec_bprm_check(u64 *ctx)
{
	struct linux_binprm *bprm = (struct linux_binprm *)ctx[0];
	struct task_struct *task = bpf_get_current_task_btf();
	struct file *file = bprm->file;
	struct exec_scratch_long *long_scratch;
	struct exec_scratch *scratch;
	struct subject s;
	int result;

	if (!subject_of_current(&s))
		return 0;
#ifdef ATTACH_LSM
	read_path(file);
#endif
	scratch = bpf_task_storage_get(MAP(exec_scratch), task, 0, 0);
	if (!scratch || scratch->file != (u64)file)
		return deny_exec_blindly(&s);
	long_scratch = scratch->length < 0
			       ? bpf_task_storage_get(MAP(exec_scratch_long), task, 0, 0) : 0;
	if (long_scratch && long_scratch->head.file == (u64)file) {
		result = judge_exec(&s, file, &long_scratch->head, EVENT_PATH_SIZE);
		bpf_task_storage_delete(MAP(exec_scratch_long), task);
	} else {
		result = judge_exec(&s, file, scratch, SHORT_PATH_SIZE);
	}
	bpf_task_storage_delete(MAP(exec_scratch), task);
	if (result)
		return result;
	if (s.flags & TAG_ENTERING) {
		result = guard_inherited(&s, task);
		if (result)
			return result;
		has_entered(task);
	}
	take_home(s.workload, task);
	return 0;
}
