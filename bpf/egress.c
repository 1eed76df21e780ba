/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Egress: which sockets a workload may have and which addresses they may reach.
 *
 *   socket_post_create   family, type and protocol; gives the socket its task's tag
 *   socket_connect       connect(2) of streams, judged by the task
 *   cgroup sendmsg4/6    datagrams sent to an address, judged by the socket
 *
 * packet.c judges what passes none of these. A datagram socket's connect(2) sends nothing
 * (glibc's getaddrinfo makes them to sort addresses), so it is its packets that are judged.
 * The cgroup programs hang on workloads' roots only, so a send outside costs nothing.
 * They cannot read task storage before 7.x: what they know of the task is the socket's tag.
 */
struct address {
	u8 bytes[16];
	u16 port;
	u16 family;
};

static ALWAYS_INLINE void map_ipv4(u8 *bytes, u32 address)
{
	*(u64 *)bytes = 0;
	*(u32 *)(bytes + 8) = 0xffff0000;	/* ::ffff:, as it lies in memory */
	*(u32 *)(bytes + 12) = address;
}

/* 127.0.0.0/8, ::1, and the unspecified address, which Linux sends to loopback too. */
static ALWAYS_INLINE bool is_loopback(const u8 *bytes)
{
	u64 high = *(const u64 *)bytes;
	u32 middle = *(const u32 *)(bytes + 8);
	u32 low = *(const u32 *)(bytes + 12);

	if (high)
		return false;
	if (middle == 0xffff0000)
		return bytes[12] == 127 || !low;
	return !middle && (low == 0x01000000 || !low);
}

static ALWAYS_INLINE void match_destination(struct subject *s, u32 ruleset, struct address *to,
					    u16 port, u32 protocol, struct verdict *verdict)
{
	struct destination_key key = { .prefix_bits = 32 + 128, .ruleset = ruleset };
	struct destination *destination;

	__builtin_memcpy(key.address, to->bytes, 16);
	destination = LOOKUP(destinations, &key);
	verdict->reason = REASON_NOT_ALLOWED;
	if (!destination)
		return;
	if (protocol == IPPROTO_MPTCP)
		protocol = IPPROTO_TCP;
#pragma clang loop unroll(disable)
	for (u32 i = 0; i < MAX_PORT_RANGES; i++) {
		struct port_range *range = &destination->ranges[i];

		if (i >= destination->count)
			break;
		if (!(range->grants & s->grants))
			continue;
		verdict->reason = REASON_PORT;
		if (range->protocol && range->protocol != protocol)
			continue;
		if (port < range->low || port > range->high)
			continue;
		verdict->decision = DECISION_ALLOWED;
		verdict->reason = REASON_RULE;
		verdict->rule = range->rule;
		return;
	}
}

static ALWAYS_INLINE void judge_address(struct subject *s, struct address *to, u32 protocol,
					u64 network_namespace, struct verdict *verdict)
{
	struct control *control;

	if (denied_outright(s, verdict) || any_allowed(s, SECTION_EGRESS, verdict))
		return;
	if (s->ruleset->loopback & s->grants && is_loopback(to->bytes)) {
		control = control_of();
		if (control && network_namespace && network_namespace != control->host_netns) {
			verdict->decision = DECISION_ALLOWED;
			verdict->reason = REASON_LOOPBACK;
			verdict->rule = s->ruleset->loopback_rule;
			return;
		}
	}
	match_destination(s, s->ruleset_id, to, to->port, protocol, verdict);
}

/*
 * A number for "these rules and grants, this destination": never 0, and without the secret keys
 * nobody can find two flows with one number (multilinear hashing: 2^-32 for each guess).
 */
static ALWAYS_INLINE u64 flow_of(struct subject *s, struct address *to, u32 protocol)
{
	struct control *control = control_of();
	const u32 *words = (const u32 *)to->bytes;
	u64 sum;

	if (!control)
		return 0;
	sum = control->flow_keys[0];
	sum += control->flow_keys[1] * words[0];
	sum += control->flow_keys[2] * words[1];
	sum += control->flow_keys[3] * words[2];
	sum += control->flow_keys[4] * words[3];
	sum += control->flow_keys[5] * (protocol << 16 | to->port);
	sum += control->flow_keys[6] * s->ruleset_id;
	sum += control->flow_keys[7] * (s->ruleset ? s->ruleset->revision : 0);
	sum += control->flow_keys[8] * s->grants;
	return sum >> 32 | 1ULL << 32;
}

/* In socket_tag.refused: an exemption lets it pass, and once that ends it is refused anew. */
#define EXEMPT_FLOW (1ULL << 33)

/* What only an exemption lets pass is judged each time. */
static ALWAYS_INLINE void remember(struct socket_tag *tag, u64 flow, struct verdict *verdict)
{
	if (verdict->flags & TAG_EXEMPT)
		tag->refused = flow | EXEMPT_FLOW;
	else
		tag->allowed = flow;
}

static ALWAYS_INLINE void fill_net(struct event *event, struct address *to, u8 type,
				   u16 protocol)
{
	__builtin_memcpy(event->net.address, to->bytes, 16);
	event->net.port = to->port;
	event->net.family = to->family;
	event->net.type = type;
	event->net.protocol = protocol;
}

static ALWAYS_INLINE struct socket_tag *tag_socket(struct sock *sk, struct subject *s)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct socket_tag *tag;

	tag = bpf_sk_storage_get(MAP(socket_tags), sk, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!tag)
		return 0;
	tag->workload = s->workload;
	tag->call = s->call;
	tag->cgroup = s->cgroup;
	tag->network_namespace = sk->skc_net->net_cookie;
	tag->allowed = 0;
	tag->policy = s->policy;
	tag->grants = s->grants;
	tag->flags = s->flags;
	tag->start = task->group_leader->start_boottime;
	tag->parent = task->real_parent->tgid;
	tag->pid = task->tgid;
	tag->tid = task->pid;
	tag->uid = (u32)bpf_get_current_uid_gid();
	bpf_get_current_comm(tag->comm, sizeof(tag->comm));
	return tag;
}

static ALWAYS_INLINE void subject_of_socket(struct subject *s, struct socket_tag *tag)
{
	s->cgroup = tag->cgroup;
	s->workload = tag->workload;
	s->call = tag->call;
	s->policy = tag->policy;
	s->grants = tag->grants;
	s->flags = tag->flags;
	s->reason = tag->flags & TAG_ESCAPED ? REASON_ESCAPED : REASON_NONE;
}

/* Made inside: then the programs on the workload's root see its packets. */
static ALWAYS_INLINE bool made_here(struct sock *sk, struct subject *s)
{
	struct cgroup *cgroup = sk->sk_cgrp_data.cgroup;
	u64 id = cgroup ? cgroup->kn->id : 0;
	struct scope *scope = LOOKUP(scopes, &id);

	return scope && scope->workload == s->workload && scope->flags & SCOPE_ARMED;
}

static ALWAYS_INLINE bool inet(u32 family)
{
	return family == AF_INET || family == AF_INET6;
}

/* Families that cannot leave the machine, and the two types that egress rules can judge. */
static ALWAYS_INLINE bool judged_elsewhere(u32 family, u32 type, u32 protocol)
{
	if (family == AF_UNIX || family == AF_NETLINK || family == AF_ALG)
		return true;
	if (!inet(family))
		return false;
	if (type == SOCK_STREAM)
		return !protocol || protocol == IPPROTO_TCP || protocol == IPPROTO_MPTCP;
	if (type == SOCK_DGRAM)
		return !protocol || protocol == IPPROTO_UDP || protocol == IPPROTO_UDPLITE;
	return false;
}

int egress_socket_post_create(u64 *ctx)
{
	u32 family = ctx[1], type = ctx[2] & 0xf, protocol = ctx[3];
	bool from_kernel = (u32)ctx[4];
	struct address nowhere = { .family = family };
	struct verdict verdict;
	struct subject s;
	struct scope *scope;
	int result;

	if (from_kernel || !subject_of_current(&s))
		return 0;
#ifdef ATTACH_LSM
	struct sock *sk = ((struct socket *)ctx[0])->sk;

	if (sk && inet(family))
		tag_socket(sk, &s);
#endif
	if (judged_elsewhere(family, type, protocol)) {
		u64 cgroup = s.cgroup;

		if (!inet(family))
			return 0;
		scope = LOOKUP(scopes, &cgroup);
		/* Outside its workload no program would see what the socket sends. */
		if (!(s.flags & TAG_ESCAPED)) {
			if (!scope || scope->flags & SCOPE_ARMED)
				return 0;
			if (s.ruleset && s.ruleset->mode == MODE_AUDIT)
				return 0;
			s.reason = REASON_UNARMED;
		}
	}
	if (!denied_outright(&s, &verdict) && !any_allowed(&s, SECTION_EGRESS, &verdict))
		verdict.reason = REASON_FAMILY;
	result = conclude(&s, &verdict);
	struct event event = {};
	fill_head(&event, KIND_SOCKET, &s, &verdict);
	fill_process(&event);
	fill_net(&event, &nowhere, type, protocol);
	emit(&event, sizeof(event), true);
	return result;
}

/* What a connect asks for. False: it only dissolves an association. */
static ALWAYS_INLINE bool read_address(struct sock *sk, struct sockaddr *address, u32 length,
				       struct address *to, struct subject *s)
{
	struct { u16 family; u16 port; u32 ipv4; u8 ipv6[16]; u32 scope; } wire = {};

	to->family = sk->skc_family;
	if (length < sizeof(u16) || bpf_probe_read_kernel(&wire, sizeof(wire), address)) {
		s->reason = s->reason ?: REASON_UNREADABLE;
	} else if (wire.family == AF_UNSPEC) {
		return false;
	} else if (wire.family == AF_INET && length >= 16) {
		map_ipv4(to->bytes, wire.ipv4);
		to->family = AF_INET;
	} else if (wire.family == AF_INET6 && length >= 24) {
		__builtin_memcpy(to->bytes, wire.ipv6, 16);
	} else {
		s->reason = s->reason ?: REASON_UNREADABLE;
	}
	to->port = __builtin_bswap16(wire.port);
	return true;
}

int egress_socket_connect(u64 *ctx)
{
	struct socket *sock = (struct socket *)ctx[0];
	struct address to = {};
	struct verdict verdict;
	struct subject s;
	struct sock *sk;
	u32 protocol;
	int result;

	if (!subject_of_current(&s))
		return 0;
	sk = sock->sk;
	if (!sk || !inet(sk->skc_family))
		return 0;
	protocol = sk->sk_protocol;
	if (!read_address(sk, (struct sockaddr *)ctx[1], ctx[2], &to, &s))
		return 0;
	if (sk->sk_type == SOCK_DGRAM && !s.reason && made_here(sk, &s)) {
#ifdef ATTACH_LSM
		tag_socket(sk, &s);
#endif
		return 0;
	}
	judge_address(&s, &to, protocol, sk->skc_net->net_cookie, &verdict);
	result = conclude(&s, &verdict);
#ifdef ATTACH_LSM
	struct socket_tag *tag = result ? 0 : tag_socket(sk, &s);

	if (tag)
		remember(tag, flow_of(&s, &to, protocol), &verdict);
#endif
	struct event event = {};
	fill_head(&event, KIND_CONNECT, &s, &verdict);
	fill_process(&event);
	fill_net(&event, &to, sk->sk_type, protocol);
	emit(&event, sizeof(event), true);
	return result;
}

#ifndef ATTACH_LSM
/* fmod_ret programs may not use socket storage; fexit programs on the same functions may. */
int egress_socket_created(u64 *ctx)
{
	struct socket *sock = (struct socket *)ctx[0];
	struct subject s;
	struct sock *sk;

	if ((u32)ctx[4] || (int)ctx[5] || !inet((u32)ctx[1]) || !subject_of_current(&s))
		return 0;
	sk = sock->sk;
	if (sk)
		tag_socket(sk, &s);
	return 0;
}

int egress_socket_connecting(u64 *ctx)
{
	struct socket *sock = (struct socket *)ctx[0];
	struct address to = {};
	struct socket_tag *tag;
	struct verdict verdict;
	struct subject s;
	struct sock *sk;

	if ((int)ctx[3] || !subject_of_current(&s))
		return 0;
	sk = sock->sk;
	if (!sk || !inet(sk->skc_family))
		return 0;
	if (!read_address(sk, (struct sockaddr *)ctx[1], ctx[2], &to, &s))
		return 0;
	tag = tag_socket(sk, &s);
	if (!tag || sk->sk_type != SOCK_STREAM)
		return 0;
	/* Judged again: the exemption that let it pass may have ended since. */
	judge_address(&s, &to, sk->sk_protocol, sk->skc_net->net_cookie, &verdict);
	verdict.flags = verdict.decision == DECISION_DENIED &&
			!(s.ruleset && s.ruleset->mode == MODE_AUDIT) ? TAG_EXEMPT : 0;
	remember(tag, flow_of(&s, &to, sk->sk_protocol), &verdict);
	return 0;
}
#endif

/* cgroup programs: 1 lets pass, 0 shows EPERM. */
static ALWAYS_INLINE int judge_socket(struct bpf_sock_addr *ctx, struct address *to)
{
	struct socket_tag *tag = 0;
	struct peer *peer = 0;
	struct verdict verdict;
	struct scope *scope;
	struct subject s = {};
	u64 cgroup = bpf_get_current_cgroup_id();
	int result;

	if (ctx->sk)
		tag = bpf_sk_storage_get(MAP(socket_tags), ctx->sk, 0, 0);
	if (tag) {
		subject_of_socket(&s, tag);
	} else {
		scope = LOOKUP(scopes, &cgroup);
		if (!scope)
			return 1;
		s.workload = scope->workload;
		s.policy = scope->policy;
		s.grants = GRANT_BASE;
	}
	s.cgroup = cgroup;
	find_ruleset(&s);
	if (s.ruleset && s.ruleset->mode == MODE_RELEASED)
		return 1;
	to->port = __builtin_bswap16((u16)ctx->user_port);
	judge_address(&s, to, ctx->protocol, bpf_get_netns_cookie(ctx), &verdict);
	/* An answer to who has reached this socket: packet.c knows. */
	if (verdict.decision == DECISION_DENIED && !s.reason && s.ruleset && ctx->sk) {
		struct peer_key key = {};

		__builtin_memcpy(key.address, to->bytes, 16);
		key.socket = bpf_get_socket_cookie(ctx);
		key.port = to->port;
		key.protocol = ctx->protocol;
		peer = LOOKUP(peers, &key);
		if (peer && !peer->refused && !peer->exempt)
			return 1;
	}
	result = conclude(&s, &verdict);
	if (tag && !result)
		remember(tag, flow_of(&s, to, ctx->protocol), &verdict);
	/* The event of who was let in told of it. */
	if (verdict.flags & TAG_EXEMPT && peer && peer->exempt)
		return 1;
	struct event event = {};
	fill_head(&event, KIND_SEND, &s, &verdict);
	fill_net(&event, to, ctx->type, ctx->protocol);
	/* Of several cgroup programs all run, whatever the first one says. */
	emit(&event, sizeof(event), false);
	return result ? 0 : 1;
}

static ALWAYS_INLINE int judge_socket_ipv4(struct bpf_sock_addr *ctx)
{
	struct address to = { .family = AF_INET };

	map_ipv4(to.bytes, ctx->user_ip4);
	return judge_socket(ctx, &to);
}

static ALWAYS_INLINE int judge_socket_ipv6(struct bpf_sock_addr *ctx)
{
	struct address to = { .family = AF_INET6 };

	*(u32 *)&to.bytes[0] = ctx->user_ip6[0];
	*(u32 *)&to.bytes[4] = ctx->user_ip6[1];
	*(u32 *)&to.bytes[8] = ctx->user_ip6[2];
	*(u32 *)&to.bytes[12] = ctx->user_ip6[3];
	return judge_socket(ctx, &to);
}

int egress_cgroup_sendmsg4(struct bpf_sock_addr *ctx)
{
	return judge_socket_ipv4(ctx);
}

int egress_cgroup_sendmsg6(struct bpf_sock_addr *ctx)
{
	return judge_socket_ipv6(ctx);
}
