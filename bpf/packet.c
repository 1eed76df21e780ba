/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Packets of a workload's sockets, both ways, seen at workloads' roots.
 *
 *   cgroup skb egress    where a packet really goes, behind routing and NAT: what no hook on a
 *                        system call sees (connects implied by a send, connections older than
 *                        the rules, routes inside the packet, multipath TCP's own sockets)
 *   cgroup skb ingress   who may begin to talk to a workload; answers need no rule
 *
 * They select by the cgroup in which a socket was made and may run where no task of the workload
 * does, so all they know of the task is the socket's tag. Judging each packet would be dear: the
 * tag remembers, by a keyed hash, the one flow that was allowed last.
 */
#define ETH_P_IP 0x0008		/* as it lies in memory */
#define ETH_P_IPV6 0xdd86
#define TCP_SYN 0x02
#define TCP_ACK 0x10
#define LOOPBACK_DEVICE 1	/* in every network namespace */
#define PASS 1
#define DROP 0

struct packet {
	struct address remote;
	u16 local_port;
	u8 protocol;
	u8 tcp_flags;
	u32 problem;		/* why rules cannot judge it: REASON_OPTIONS, _UNREADABLE, _FAMILY */
};

static ALWAYS_INLINE void read_ports(struct __sk_buff *skb, struct packet *packet, u32 offset,
				     bool outgoing)
{
	struct { u16 source, destination; u32 numbers[2]; u8 offset, flags; } tcp = {};
	u32 size = packet->protocol == IPPROTO_TCP ? 14 : 4;

	if (packet->protocol != IPPROTO_TCP && packet->protocol != IPPROTO_UDP &&
	    packet->protocol != IPPROTO_UDPLITE) {
		packet->problem = REASON_FAMILY;
		return;
	}
	if (size == 14 ? bpf_skb_load_bytes(skb, offset, &tcp, 14)
		       : bpf_skb_load_bytes(skb, offset, &tcp, 4)) {
		packet->problem = REASON_UNREADABLE;
		return;
	}
	packet->remote.port = __builtin_bswap16(outgoing ? tcp.destination : tcp.source);
	packet->local_port = __builtin_bswap16(outgoing ? tcp.source : tcp.destination);
	packet->tcp_flags = tcp.flags;
}

static ALWAYS_INLINE void read_packet(struct __sk_buff *skb, struct packet *packet, bool outgoing)
{
	struct { u8 size, tos; u16 length, id, fragment; u8 ttl, protocol; u16 sum; u32 from, to; } ipv4;
	struct { u32 flow; u16 length; u8 next, limit; u32 from[4], to[4]; } ipv6;

	if (skb->protocol == ETH_P_IP) {
		packet->remote.family = AF_INET;
		if (bpf_skb_load_bytes(skb, 0, &ipv4, sizeof(ipv4))) {
			packet->problem = REASON_UNREADABLE;
			return;
		}
		map_ipv4(packet->remote.bytes, outgoing ? ipv4.to : ipv4.from);
		packet->protocol = ipv4.protocol;
		if (ipv4.fragment & 0xff1f) {
			packet->problem = REASON_UNREADABLE;
			return;
		}
		read_ports(skb, packet, (ipv4.size & 0xf) * 4, outgoing);
		/* A source route is an option; nothing that workloads need is one. */
		if (outgoing && (ipv4.size & 0xf) > 5)
			packet->problem = REASON_OPTIONS;
	} else if (skb->protocol == ETH_P_IPV6) {
		packet->remote.family = AF_INET6;
		if (bpf_skb_load_bytes(skb, 0, &ipv6, sizeof(ipv6))) {
			packet->problem = REASON_UNREADABLE;
			return;
		}
		__builtin_memcpy(packet->remote.bytes, outgoing ? ipv6.to : ipv6.from, 16);
		packet->protocol = ipv6.next;
		read_ports(skb, packet, sizeof(ipv6), outgoing);
		/* Hop-by-hop, routing, fragment, destination options. */
		if (ipv6.next == 0 || ipv6.next == 43 || ipv6.next == 44 || ipv6.next == 60)
			packet->problem = REASON_OPTIONS;
	} else {
		packet->problem = REASON_FAMILY;
	}
}

/* A socket older than the policy, or one of the kernel's own (a subflow), has no tag yet. */
static ALWAYS_INLINE struct socket_tag *adopt(struct __sk_buff *skb, struct bpf_sock *sk,
					      struct subject *s)
{
	struct socket_tag *tag;
	struct scope *scope;
	u64 cgroup = bpf_skb_cgroup_id(skb);

	scope = LOOKUP(scopes, &cgroup);
	if (!scope)
		return 0;
	s->cgroup = cgroup;
	s->workload = scope->workload;
	s->policy = scope->policy;
	s->grants = GRANT_BASE;
	tag = sk ? bpf_sk_storage_get(MAP(socket_tags), sk, 0, BPF_LOCAL_STORAGE_GET_F_CREATE) : 0;
	if (tag) {
		struct sock *tcp = (struct sock *)bpf_skc_to_tcp_sock(sk);

		tag->workload = s->workload;
		tag->cgroup = cgroup;
		tag->policy = s->policy;
		tag->grants = s->grants;
		if (tcp)
			tag->network_namespace = tcp->skc_net->net_cookie;
	}
	return tag;
}

static ALWAYS_INLINE struct socket_tag *subject_of_packet(struct __sk_buff *skb,
							  struct bpf_sock *sk, struct subject *s)
{
	struct socket_tag *tag = sk ? bpf_sk_storage_get(MAP(socket_tags), sk, 0, 0) : 0;

	if (tag)
		subject_of_socket(s, tag);
	else
		tag = adopt(skb, sk, s);
	if (s->workload)
		find_ruleset(s);
	return tag;
}

static ALWAYS_INLINE bool own_loopback(struct __sk_buff *skb, struct socket_tag *tag)
{
	struct control *control = control_of();

	return skb->ifindex == LOOPBACK_DEVICE && tag && tag->network_namespace && control &&
	       tag->network_namespace != control->host_netns;
}

static ALWAYS_INLINE void fill_peer(struct peer_key *key, struct packet *packet, u64 socket)
{
	__builtin_memcpy(key->address, packet->remote.bytes, 16);
	key->socket = socket;
	key->port = packet->remote.port;
	key->protocol = packet->protocol;
}

/* The other side, if it has reached this socket, or the one that it was accepted from. */
static ALWAYS_INLINE struct peer *peer_of(struct __sk_buff *skb, struct socket_tag *tag,
					  struct packet *packet)
{
	struct peer_key key = {};

	fill_peer(&key, packet, tag && tag->listener ? tag->listener : bpf_get_socket_cookie(skb));
	return LOOKUP(peers, &key);
}

static ALWAYS_INLINE void tell_packet(struct subject *s, struct socket_tag *tag,
				      struct packet *packet, u32 kind, struct verdict *verdict)
{
	u8 type = packet->protocol == IPPROTO_TCP ? SOCK_STREAM : SOCK_DGRAM;
	struct event event = {};

	fill_verdict(&event, kind, s, verdict);
	if (tag) {
		event.start = tag->start;
		event.parent = tag->parent;
		event.pid = tag->pid;
		event.tid = tag->tid;
		event.uid = tag->uid;
		__builtin_memcpy(event.comm, tag->comm, sizeof(event.comm));
	}
	fill_net(&event, &packet->remote, type, packet->protocol);
	event.net.local_port = packet->local_port;
	emit(&event, sizeof(event), false);
}

static ALWAYS_INLINE void judge_inbound(struct subject *s, struct packet *packet,
					struct verdict *verdict)
{
	if (denied_outright(s, verdict) || any_allowed(s, SECTION_INGRESS, verdict))
		return;
	verdict->reason = packet->problem;
	if (packet->problem)
		return;
	match_destination(s, s->ruleset_id | INGRESS_RULES, &packet->remote, packet->local_port,
			  packet->protocol, verdict);
}

/* Let in by these rules; or by a revision before, and these would let it in as well. */
static ALWAYS_INLINE bool welcome(struct __sk_buff *skb, struct socket_tag *tag, struct subject *s,
				  struct packet *packet, struct peer *peer)
{
	struct verdict verdict = {};

	if (!s->ruleset || peer->refused || peer->exempt)
		return false;
	if (peer->revision == s->ruleset->revision || own_loopback(skb, tag))
		return true;
	judge_inbound(s, packet, &verdict);
	if (verdict.decision != DECISION_ALLOWED)
		return false;
	peer->revision = s->ruleset->revision;
	return true;
}

int egress_packet_out(struct __sk_buff *skb)
{
	struct bpf_sock *sk = skb->sk ? bpf_sk_fullsock(skb->sk) : 0;
	struct packet packet = {};
	struct peer *peer = 0;
	struct socket_tag *tag;
	struct verdict verdict;
	struct subject s = {};
	u64 flow, told;
	bool opens, quiet;
	int result;

	tag = subject_of_packet(skb, sk, &s);
	if (!s.workload || (s.ruleset && s.ruleset->mode == MODE_RELEASED))
		return PASS;
	read_packet(skb, &packet, true);
	flow = flow_of(&s, &packet.remote, packet.protocol);
	if (tag && flow && tag->allowed == flow && !packet.problem)
		return PASS;
	opens = packet.protocol != IPPROTO_TCP ||
		(packet.tcp_flags & (TCP_SYN | TCP_ACK)) == TCP_SYN;
	quiet = !opens;
	if (packet.problem) {
		if (!denied_outright(&s, &verdict) &&
		    !any_allowed(&s, SECTION_EGRESS, &verdict))
			verdict.reason = packet.problem;
	} else {
		judge_address(&s, &packet.remote, packet.protocol,
			      tag ? tag->network_namespace : 0, &verdict);
		if (verdict.decision == DECISION_DENIED && !s.reason &&
		    (packet.protocol != IPPROTO_TCP || !opens))
			peer = peer_of(skb, tag, &packet);
		if (peer && welcome(skb, tag, &s, &packet, peer)) {
			verdict.decision = DECISION_ALLOWED;
			quiet = true;
		}
	}
	result = conclude(&s, &verdict);
	/* connect(2) told of it, and the route or NAT took it to another address. */
	if (tag && tag->allowed && packet.protocol == IPPROTO_TCP)
		quiet = true;
	if (verdict.decision != DECISION_ALLOWED) {
		told = verdict.flags & TAG_EXEMPT ? flow | EXEMPT_FLOW : flow;
		quiet = tag && tag->refused == told &&
			(packet.protocol == IPPROTO_TCP || verdict.flags & TAG_EXEMPT);
		if (tag)
			tag->refused = told;
	}
	if (tag && !result && !packet.problem)
		remember(tag, flow, &verdict);
	/* The event of who was let in told of it. */
	if (verdict.flags & TAG_EXEMPT && peer && peer->exempt)
		quiet = true;
	/* Its socket was told of when it was made. */
	if (packet.problem == REASON_FAMILY && !result)
		quiet = true;
	if (!quiet)
		tell_packet(&s, tag, &packet,
			    packet.protocol == IPPROTO_TCP ? KIND_CONNECT : KIND_SEND, &verdict);
	return result ? DROP : PASS;
}

int ingress_packet_in(struct __sk_buff *skb)
{
	struct bpf_sock *sk = skb->sk ? bpf_sk_fullsock(skb->sk) : 0;
	struct packet packet = {};
	struct peer_key key = {};
	struct socket_tag *tag;
	struct verdict verdict = {};
	struct subject s = {};
	struct peer *known, peer = {};
	bool quiet = false;
	u64 flow = 0;
	int result;

	read_packet(skb, &packet, false);
	/* What belongs to a TCP connection came through once, when it began. */
	if (packet.problem == REASON_FAMILY ||
	    (packet.protocol == IPPROTO_TCP && !packet.problem &&
	     (packet.tcp_flags & (TCP_SYN | TCP_ACK)) != TCP_SYN))
		return PASS;
	tag = subject_of_packet(skb, sk, &s);
	if (!s.workload || (s.ruleset && s.ruleset->mode == MODE_RELEASED))
		return PASS;
	if (packet.protocol != IPPROTO_TCP && !packet.problem) {
		flow = flow_of(&s, &packet.remote, packet.protocol);
		if (tag && flow && tag->allowed == flow)
			return PASS;
		judge_address(&s, &packet.remote, packet.protocol,
			      tag ? tag->network_namespace : 0, &verdict);
		if (verdict.decision == DECISION_ALLOWED)
			return PASS;
	}
	if (own_loopback(skb, tag)) {
		verdict.decision = DECISION_ALLOWED;
		quiet = true;
	} else {
		judge_inbound(&s, &packet, &verdict);
	}
	result = conclude(&s, &verdict);
	fill_peer(&key, &packet, bpf_get_socket_cookie(skb));
	known = LOOKUP(peers, &key);
	peer.refused = result ? 1 : 0;
	peer.exempt = verdict.flags & TAG_EXEMPT ? 1 : 0;
	peer.revision = s.ruleset ? s.ruleset->revision : 0;
	/* An answer to what an exemption let out: that was told of. */
	if (peer.exempt && tag && flow && tag->refused == (flow | EXEMPT_FLOW))
		quiet = true;
	/* Datagrams of one sender, and requests that are sent again, are one attempt. */
	if (known && known->refused == peer.refused && known->exempt == peer.exempt &&
	    known->revision == peer.revision)
		quiet |= result || packet.protocol != IPPROTO_TCP;
	else
		bpf_map_update_elem(MAP(peers), &key, &peer, BPF_ANY);
	if (tag && !result && packet.protocol == IPPROTO_TCP)
		tag->listener = key.socket;
	if (!quiet)
		tell_packet(&s, tag, &packet, KIND_INBOUND, &verdict);
	return result ? DROP : PASS;
}
