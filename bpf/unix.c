/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Unix sockets: a workload's own are free; the host's and other workloads' are reached by
 * rule only, under the name to which they were bound.
 *
 *   unix_stream_connect   connect(2) of a stream or seqpacket socket
 *   unix_may_send         connect(2) of a datagram socket, and each of its sends
 *
 * Whose a socket is, the cgroup says in which it was made: nothing that a workload does to a
 * path, a mount or a namespace changes that. A socket without a name cannot be found: its
 * other end was handed over or inherited.
 */
#define CGROUP_LEVELS 24

/* A removed cgroup's sockets live on: then the nearest ancestor that has a scope says it. */
static ALWAYS_INLINE struct scope *scope_of(struct cgroup *cgroup)
{
#pragma clang loop unroll(disable)
	for (int level = 0; level < CGROUP_LEVELS; level++) {
		struct kernfs_node *node;
		struct scope *scope;
		u64 id;

		if (!cgroup)
			break;
		node = READ(cgroup, kn);
		id = READ(node, id);
		scope = LOOKUP(scopes, &id);
		if (scope)
			return scope;
		cgroup = READ(cgroup, parent);
	}
	return 0;
}

/* The workload itself, or one of its own below a slice. */
static ALWAYS_INLINE bool same_workload(struct subject *s, struct scope *scope)
{
	return scope && (scope->workload == s->workload || scope->parent == s->workload);
}

/* Each NUL becomes '@', eight bytes at a time: '@' is half of the top bit that finds a NUL. */
static ALWAYS_INLINE void show_nuls(u64 *words)
{
	const u64 low = 0x7f7f7f7f7f7f7f7f;

#pragma clang loop unroll(disable)
	for (u32 i = 0; i < UNIX_NAME_SIZE / sizeof(u64); i++)
		words[i] |= ~(((words[i] & low) + low) | words[i] | low) >> 1;
}

/* Abstract names have no end and may hold NULs: they are shown as ss -x shows them. */
static ALWAYS_INLINE bool read_name(struct exec_scratch *told, struct unix_address *address)
{
	u32 length = READ(address, len) - sizeof(u16);	/* without the family */

	told->event.peer.length = 0;
	__builtin_memset(told->path, 0, UNIX_NAME_SIZE);
	if (!length || length >= UNIX_NAME_SIZE)
		return false;
	/* So that the verifier sees the limit, too. */
	asm volatile("" : "+r"(length));
	length &= UNIX_NAME_SIZE - 1;
	if (bpf_probe_read_kernel(told->path, length, address->name + sizeof(u16)))
		return false;
	if (told->path[0]) {
		told->event.peer.length = length - 1;
		return true;
	}
	told->event.peer.length = length;
	show_nuls((u64 *)told->path);
	told->path[length] = 0;
	return true;
}

static ALWAYS_INLINE struct path_verdict *name_rule(struct exec_scratch *told, u32 ruleset)
{
	told->event.peer.prefix_bits = 8 * (sizeof(u32) + UNIX_NAME_SIZE);
	told->event.peer.ruleset = ruleset;
	return LOOKUP(unix_names, &told->event.peer.prefix_bits);
}

static ALWAYS_INLINE void judge_name(struct subject *s, struct exec_scratch *told,
				     struct verdict *verdict)
{
	struct path_verdict *found;

	if (denied_outright(s, verdict) || any_allowed(s, SECTION_UNIX, verdict))
		return;
	verdict->reason = REASON_NOT_ALLOWED;
	found = name_rule(told, s->ruleset_id);
	if (!found || !(found->allow & s->grants))
		return;
	verdict->decision = DECISION_ALLOWED;
	verdict->reason = REASON_RULE;
	verdict->rule = found->allow & s->grants & GRANT_BASE ? found->base_rule
							      : found->grant_rule;
}

/* No room for the name, nor on the stack for an event: counted as one that was lost. */
static ALWAYS_INLINE int deny_peer_blindly(struct subject *s)
{
	struct verdict verdict = { .decision = DECISION_DENIED };
	struct workload *workload = LOOKUP(workloads, &s->workload);
	int result = conclude(s, &verdict);

	count(KIND_UNIX, verdict.decision, REASON_NO_STORAGE);
	if (workload) {
		__sync_fetch_and_add(&workload->sequence, 1);
		__sync_fetch_and_add(&workload->lost_denials, 1);
	}
	return result;
}

/* `quiet`: what is allowed is no event, as sends on connected sockets are none. */
static ALWAYS_INLINE int judge_foreign(struct subject *s, struct exec_scratch *told,
				       struct sock *peer, struct scope *scope, bool quiet)
{
	struct verdict verdict;
	int result;

	if (!read_name(told, READ((struct unix_sock *)peer, addr)))
		s->reason = s->reason ?: REASON_UNREADABLE;
	if (!s->reason && !scope && name_rule(told, 0))
		return 0;
	judge_name(s, told, &verdict);
	result = conclude(s, &verdict);
	if (quiet && verdict.decision == DECISION_ALLOWED)
		return 0;
	fill_head(&told->event, KIND_UNIX, s, &verdict);
	fill_process(&told->event);
	told->event.peer.workload = scope ? scope->workload : 0;
	told->event.peer.type = READ(peer, sk_type);
	emit(&told->event, sizeof(struct event) + UNIX_NAME_SIZE, true);
	return result;
}

static ALWAYS_INLINE int judge_peer(struct sock *peer, bool quiet)
{
	struct exec_scratch *told;
	struct scope *scope;
	struct subject s;

	if (!subject_of_current(&s) || s.flags & TAG_ENTERING)
		return 0;
	scope = scope_of(READ(peer, sk_cgrp_data.cgroup));
	if (!s.reason && same_workload(&s, scope))
		return 0;
	if (!READ((struct unix_sock *)peer, addr))
		return 0;
	told = scratch_of(bpf_get_current_task_btf());
	if (!told)
		return deny_peer_blindly(&s);
	return judge_foreign(&s, told, peer, scope, quiet);
}

int unix_stream_connect(u64 *ctx)
{
	return judge_peer((struct sock *)ctx[1], false);
}

int unix_may_send(u64 *ctx)
{
	struct sock *sk = READ((struct socket *)ctx[0], sk);
	struct sock *peer = READ((struct socket *)ctx[1], sk);

	return judge_peer(peer, READ((struct unix_sock *)sk, peer) == peer);
}
