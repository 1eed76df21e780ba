/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Access to maps. The loader makes or reopens every map (enforcer/maps.py has their types
 * and sizes), so that they outlive a program set. What is compiled is kept for the next start, so
 * it has placeholders: MAP_<name> for a map's descriptor, OWN_SET for the program set's number.
 * The loader puts both into the instructions (enforcer/bytecode.py).
 */
#define MAP(name) ((void *)bpf_pseudo_fd(1, MAP_##name))
#define PROGRAM_SET bpf_pseudo_fd(0, OWN_SET)
#define LOOKUP(name, key) bpf_map_lookup_elem(MAP(name), key)
#define ALWAYS_INLINE inline __attribute__((always_inline))

#define EPERM 1
#define ENOENT 2
#define ENOMEM 12
#define EACCES 13
#define ECONNREFUSED 111
#define PROT_READ 1
#define PROT_EXEC 4
#define VM_EXEC 4
#define READ_IMPLIES_EXEC 0x0400000
#define FMODE_EXEC 0x20		/* include/linux/fs.h: set on opens for execution only */
#define FMODE_BACKING (3 << 24)	/* include/linux/fs.h: one bit, which of the two differs */
#define S_IFMT 00170000
#define S_IFREG 0100000
#define S_IFCHR 0020000
#define S_IFBLK 0060000
#define S_IFSOCK 0140000
#define FMODE_WRITE 0x2
#define CLONE_THREAD 0x00010000
#define AF_UNSPEC 0
#define AF_UNIX 1
#define AF_INET 2
#define AF_INET6 10
#define AF_NETLINK 16
#define AF_ALG 38
#define SOCK_STREAM 1
#define SOCK_DGRAM 2
#define IPPROTO_TCP 6
#define IPPROTO_UDP 17
#define IPPROTO_UDPLITE 136
#define IPPROTO_MPTCP 262

/* Read a field through a pointer that the verifier does not know. */
#define READ(pointer, field) ({ \
	typeof((pointer)->field) value_ = 0; \
	bpf_probe_read_kernel(&value_, sizeof(value_), &(pointer)->field); \
	value_; })

/*
 * Is a pointer among a hook's arguments there? Verifiers since 6.12 take one of a kernel type
 * for always there and drop a plain comparison with NULL from the program.
 */
#define GIVEN(ctx, index) ({ \
	u64 argument_ = 0; \
	bpf_probe_read_kernel(&argument_, sizeof(argument_), (ctx) + (index)); \
	argument_ != 0; })

static ALWAYS_INLINE struct control *control_of(void)
{
	u32 zero = 0;

	return LOOKUP(control, &zero);
}

static ALWAYS_INLINE void count(u32 kind, u32 decision, u32 reason)
{
	u32 index = (kind * DECISION_COUNT + decision) * REASON_COUNT + reason;
	u64 *counter = LOOKUP(counters, &index);

	if (counter)
		__sync_fetch_and_add(counter, 1);
}
