/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Walks over tasks, started by reading an iterator that the agent makes: find, resolve and
 * change tags. User space never writes a tag itself: it could not do so atomically, nor for
 * a thread that is not its group's leader.
 */
int iterate_tasks(u64 *ctx)
{
	struct bpf_iter_meta *meta = (struct bpf_iter_meta *)ctx[0];
	struct task_struct *task = (struct task_struct *)ctx[1];
	struct iterator_command *command;
	struct task_record record = {};
	struct scope *scope;
	struct tag *tag;
	u32 zero = 0;
	u64 cgroup;

	command = LOOKUP(iterator, &zero);
	if (!task || !command)
		return 0;
	if (command->operation == ITERATE_FILTER) {
		set_filter(command->call);
		return 0;
	}
	cgroup = task->cgroups->dfl_cgrp->kn->id;
	tag = bpf_task_storage_get(MAP(tags), task, 0, 0);
	if (!tag && command->operation != ITERATE_LIST) {
		scope = LOOKUP(scopes, &cgroup);
		if (!scope)
			return 0;
		tag = bpf_task_storage_get(MAP(tags), task, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
		if (tag && !tag->workload) {
			tag_from_scope(tag, scope, cgroup);
			/* It is older than its policy, and the walk meets the oldest first. */
			if (!(tag->flags & TAG_ENTERING))
				take_home(tag->workload, task);
		}
	}
	if (!tag)
		return 0;
	if (command->operation == ITERATE_RESOLVE && !is_settled(cgroup))
		take_root(tag->workload, cgroup, task);
	if (command->operation == ITERATE_CALL) {
		tag->call = command->call;
		tag->grants = GRANT_BASE;
		tag->flags &= ~TAG_AFTER;
	} else if (command->operation == ITERATE_AFTER && tag->call == command->call) {
		tag->flags |= TAG_AFTER;
	}
	record.tid = task->pid;
	record.pid = task->tgid;
	record.start = task->start_boottime;
	record.cgroup = cgroup;
	record.tag = *tag;
	bpf_seq_write(meta->seq, &record, sizeof(record));
	return 0;
}
