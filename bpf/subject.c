/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Who acts: from the current task (or a socket) to policy, workload, grants and tool call.
 *
 * A task outside every workload leaves after one storage lookup and one filter word. A
 * tagged task is known after one lookup if it still is where it was last judged. All else
 * is the slow path: first sight, a moved task, a removed policy.
 */
struct subject {
	u64 cgroup;
	u64 workload;
	u64 call;
	u32 policy;
	u32 grants;
	u32 flags;		/* enum tag_flag */
	u32 reason;		/* not REASON_NONE: deny, whatever the rules say */
	u32 ruleset_id;
	struct ruleset *ruleset;
};

static ALWAYS_INLINE bool maybe_covered(u64 cgroup)
{
	u32 word = (cgroup >> 6) & (FILTER_WORDS - 1);
	u64 *bits = LOOKUP(scope_filter, &word);

	return bits && (*bits >> (cgroup & 63)) & 1;
}

/* A covered cgroup that found no room in scopes: some ancestor has an entry. */
static ALWAYS_INLINE struct scope *overflown_scope(void)
{
	struct control *control = control_of();
	struct scope *scope = 0;

	if (!control || !control->overflow)
		return 0;
#pragma clang loop unroll(disable)
	for (int level = 1; level < 24; level++) {
		u64 id = bpf_get_current_ancestor_cgroup_id(level);

		if (!id)
			break;
		scope = LOOKUP(scopes, &id);
		if (scope)
			break;
	}
	return scope;
}

static ALWAYS_INLINE void tag_from_scope(struct tag *tag, struct scope *scope, u64 cgroup)
{
	tag->cgroup = cgroup;
	tag->workload = scope->workload;
	tag->call = 0;
	tag->grants = GRANT_BASE | scope->grants;
	/* Of a container runtime, say, that sets up what it is about to start. */
	tag->flags = scope->flags & SCOPE_SETTLED ? TAG_ENTERING : 0;
	tag->policy = scope->policy;
}

/* Point the subject at its policy's ruleset; the one word is read once. */
static ALWAYS_INLINE void find_ruleset(struct subject *s)
{
	u32 slot = s->policy;
	struct policy *policy = LOOKUP(policies, &slot);

	s->ruleset = 0;
	s->ruleset_id = policy ? *(volatile u32 *)&policy->ruleset : 0;
	if (s->ruleset_id) {
		u32 id = s->ruleset_id;

		s->ruleset = LOOKUP(rulesets, &id);
	}
	if (!s->ruleset || !s->ruleset->mode) {
		s->ruleset = 0;
		if (!s->reason)
			s->reason = REASON_NO_POLICY;
	}
}

static ALWAYS_INLINE void subject_from_tag(struct subject *s, struct tag *tag)
{
	s->workload = tag->workload;
	s->call = tag->call;
	s->policy = tag->policy;
	s->grants = tag->grants;
	s->flags = tag->flags;
	s->reason = tag->flags & TAG_ESCAPED ? REASON_ESCAPED : REASON_NONE;
}

/* The task is not where it was last judged: within its workload, or out of it? */
static ALWAYS_INLINE bool follow(struct tag *tag, u64 cgroup)
{
	struct scope *scope = LOOKUP(scopes, &cgroup);
	bool was_outside = tag->flags & TAG_ESCAPED;

	tag->cgroup = cgroup;
	if (scope && (scope->workload == tag->workload || scope->parent == tag->workload)) {
		tag->workload = scope->workload;
		tag->flags &= ~TAG_ESCAPED;
		return false;
	}
	tag->flags |= TAG_ESCAPED;
	return !was_outside;
}

static ALWAYS_INLINE void report_escape(struct subject *s);

/*
 * Fill s for the current task. False: not covered, nothing may be denied.
 * A released policy's tasks are judged by where they are now.
 */
static ALWAYS_INLINE bool subject_of_current(struct subject *s)
{
	struct task_struct *task = bpf_get_current_task_btf();
	/* Most tasks of a host have no BPF storage at all: they are spared the helper. */
	struct tag *tag = task->bpf_storage ? bpf_task_storage_get(MAP(tags), task, 0, 0) : 0;
	u64 cgroup = bpf_get_current_cgroup_id();
	struct scope *scope;
	bool left = false;

	if (!tag) {
		if (!maybe_covered(cgroup))
			return false;
		scope = LOOKUP(scopes, &cgroup);
		if (!scope) {
			scope = overflown_scope();
			if (!scope)
				return false;
		}
		tag = bpf_task_storage_get(MAP(tags), task, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
		if (!tag) {
			s->cgroup = cgroup;
			s->workload = scope->workload;
			s->call = 0;
			s->policy = scope->policy;
			s->grants = GRANT_BASE;
			s->flags = 0;
			s->reason = REASON_NO_STORAGE;
			find_ruleset(s);
			return true;
		}
		tag_from_scope(tag, scope, cgroup);
	} else if (tag->cgroup != cgroup) {
		left = follow(tag, cgroup);
	}
	s->cgroup = cgroup;
	subject_from_tag(s, tag);
	find_ruleset(s);
	if (s->ruleset && s->ruleset->mode == MODE_RELEASED) {
		scope = LOOKUP(scopes, &cgroup);
		if (!scope || scope->policy == tag->policy)
			return false;
		tag_from_scope(tag, scope, cgroup);
		tag->flags = 0;
		subject_from_tag(s, tag);
		find_ruleset(s);
		left = false;
	}
	if (left)
		report_escape(s);
	return true;
}
