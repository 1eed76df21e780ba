/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the kernel programs and user space share: numbers, map layouts, event layout.
 * enforcer/abi.py mirrors this file; tests/unit/bpf/test_layouts.py compares every
 * name, size and offset, so a change on one side only fails there.
 *
 * Zero means inactive everywhere: a zero-filled map covers nothing and denies nothing.
 *
 * Matching, with examples
 *   scopes        a cgroup id is looked up once; descendants got their own entry when
 *                 they were made (cgroup_mkdir), so no ancestor walk is needed.
 *   paths         longest prefix wins. "/usr/" + more bytes is the rule /usr/<anything>;
 *                 "/usr/bin/ssh\0", its NUL included, is that one file.
 *   unix_names    the same for names of unix sockets, as the socket was bound: a path, or
 *                 "@name" for an abstract one, where each NUL of the name is "@" (as ss -x).
 *                 Under ruleset 0: sockets of Lictor's that every workload may reach.
 *   destinations  addresses are 16 bytes, IPv4 as ::ffff:a.b.c.d. The longest prefix
 *                 carries the port ranges of every shorter one that contains it.
 *   grants        bit 0 is the base, which every task of a workload has; bit n is the
 *                 policy's n-th grant. A rule holds for a task if they share a bit.
 */
#ifndef LICTOR_SHARED_H
#define LICTOR_SHARED_H

#define LAYOUT_VERSION 3
#define EVENT_VERSION 1

#define MAX_POLICIES 1024	/* policy slots; slot 0 is never given out */
#define MAX_RULESETS 1024	/* compiled revisions alive at once; 0 is never given out */
#define MAX_SCOPES 65536	/* covered cgroups */
#define MAX_WORKLOADS 16384
#define MAX_DESTINATIONS 65536
#define MAX_PATHS 65536
#define MAX_DEVICES 65536
#define MAX_UNIX_NAMES 65536
#define MAX_THREAD_CALLS 16384
#define MAX_SELECTORS 4096
#define MAX_EXEMPTIONS 1024
#define MAX_REFUSED_READS 4096
#define MAX_ROOTS 16384
#define MAX_PORT_RANGES 32	/* per destination prefix, after merging */
#define RULE_PATH_SIZE 244	/* longest rule path with its NUL, padded */
#define EVENT_PATH_SIZE 4608	/* a path of 4,096 bytes and a margin for d_path */
#define SHORT_PATH_SIZE 512	/* most paths: not under twice RULE_PATH_SIZE, see exec.c */
#define UNIX_NAME_SIZE 128	/* a unix socket's name of 108 bytes; a power of two */
#define NAME_ROOM 256		/* behind a path's room: the longest name and its slash */
#define FILTER_WORDS 4096	/* 64 bits each: a first, cheap "surely not covered" */
#define DENIAL_RING_SIZE (4 << 20)
#define ACTIVITY_RING_SIZE (8 << 20)
#define DENIAL_QUOTA (256 << 10)	/* unread bytes one workload may hold of the denial ring */
#define ANY_MINOR 0xffffffffu
#define NO_RULE 0xffff
#define GRANT_BASE 1u
#define FLOW_KEYS 9
#define INGRESS_RULES 0x80000000u	/* in destination_key.ruleset: rules for who may connect */
#define MAX_PEERS 65536

enum event_kind {
	KIND_CONNECT = 1,	/* connect, explicit or implied by a send */
	KIND_SEND = 2,		/* datagram to an address, unconnected */
	KIND_SOCKET = 3,	/* a socket of a family or type that egress rules cannot judge */
	KIND_EXEC = 4,
	KIND_DEVICE = 5,
	KIND_ESCAPE = 6,	/* the task was found outside its workload's cgroup */
	KIND_FORK = 7,		/* only when denied */
	KIND_WORKLOAD = 8,	/* a covered workload's cgroup was made */
	KIND_WORKLOAD_END = 9,	/* it was removed */
	KIND_INBOUND = 10,	/* a connection or the first datagram from outside */
	KIND_UNIX = 11,		/* connect or datagram to a unix socket that is not the workload's */
	KIND_MAPPING = 12,	/* a file as executable memory; only when denied or audited */
	KIND_GUARD = 13,	/* an act across the workload's border; only when not allowed */
	KIND_COUNT = 14,
};

enum decision {
	DECISION_ALLOWED = 0,
	DECISION_DENIED = 1,
	DECISION_AUDITED = 2,	/* would have been denied: the policy audits, or TAG_EXEMPT */
	DECISION_COUNT = 3,
};

enum reason {
	REASON_NONE = 0,
	REASON_RULE = 1,	/* a rule names it */
	REASON_ANY = 2,		/* the section is `any` */
	REASON_LOOPBACK = 3,
	REASON_NOT_ALLOWED = 4,	/* no rule matches */
	REASON_PORT = 5,	/* the address is known, the port or protocol is not */
	REASON_ESCAPED = 6,	/* the task left its workload's cgroup */
	REASON_NO_POLICY = 7,	/* the policy's revision could not be found */
	REASON_NO_STORAGE = 8,	/* the kernel had no memory for a tag */
	REASON_UNREADABLE = 9,	/* address or path could not be read */
	REASON_FAMILY = 10,	/* address family, type or protocol without rules */
	REASON_UNARMED = 11,	/* the workload's socket programs are not attached yet */
	REASON_CHANGED = 12,	/* the file has no name, or changed since the workload was entered */
	REASON_MOUNT = 13,	/* the file is not below the root with which the workload was entered */
	REASON_OPTIONS = 14,	/* the packet says itself which way it goes: IP options, routing header */
	REASON_GUARD = 15,	/* a guard forbids it */
	REASON_FOREIGN = 16,	/* a descriptor that was made outside of the workload */
	REASON_COUNT = 17,
};

enum section {
	SECTION_EGRESS = 0,
	SECTION_EXEC = 1,
	SECTION_DEVICES = 2,
	SECTION_INGRESS = 3,
	SECTION_UNIX = 4,
	SECTION_COUNT = 5,
};

/* Each is closed unless the policy opens it: bit (1 << guard) of ruleset.guards_open. */
enum guard {
	GUARD_TRACE = 0,	/* ptrace, memory, descriptors and secrets of processes */
	GUARD_SIGNAL = 1,
	GUARD_MOUNT = 2,	/* in the mount namespace that the workload was started in */
	GUARD_KERNEL = 3,	/* modules, bpf, perf, and files that are settings of the kernel */
	GUARD_NETWORK = 4,	/* configuration of the network that the workload was started in */
	GUARD_DESCRIPTORS = 5,	/* sockets and devices that come in as descriptors */
	GUARD_CGROUPS = 6,	/* files of cgroups that are not the workload's */
	GUARD_PINS = 7,		/* names on the bpf file system */
	GUARD_COUNT = 8,
};

enum operation {
	OPERATION_ATTACH = 1,
	OPERATION_READ = 2,
	OPERATION_TRACEME = 3,
	OPERATION_SIGNAL = 4,		/* detail: its number */
	OPERATION_MOUNT = 5,
	OPERATION_REMOUNT = 6,
	OPERATION_UNMOUNT = 7,
	OPERATION_MOVE_MOUNT = 8,
	OPERATION_PIVOT_ROOT = 9,
	OPERATION_MODULE_REQUEST = 10,
	OPERATION_BPF = 11,		/* detail: the command */
	OPERATION_PERF = 12,
	OPERATION_CAPABILITY = 13,	/* detail: its number */
	OPERATION_WRITE = 14,		/* detail: the file system's magic number */
	OPERATION_REMOVE = 15,
	OPERATION_RENAME = 16,
	OPERATION_RECEIVE = 17,		/* detail: the socket's family */
	OPERATION_INHERIT = 18,		/* detail: the socket's family */
	OPERATION_COUNT = 19,
};

enum mode {
	MODE_AUDIT = 1,
	MODE_ENFORCE = 2,
	MODE_RELEASED = 3,	/* the operator removed the policy: its tasks are judged anew */
};

enum tag_flag {
	TAG_AFTER = 1,		/* the call has ended; the task outlives it */
	TAG_ESCAPED = 2,	/* seen outside its workload's cgroup */
	TAG_ENTERING = 8,	/* came from outside and has started no program of the workload yet */
	TAG_READ_REFUSED = 16,	/* may not read a process; see read_is_refused */
	TAG_PERFMON_REFUSED = 32,
	TAG_EXEMPT = 64,	/* events only: not denied, for the workload was exempt */
};
enum scope_flag {
	SCOPE_CHILDREN = 1,	/* each direct child is a workload of its own */
	SCOPE_ARMED = 2,	/* the socket programs are attached to an ancestor or here */
	SCOPE_SETTLED = 4,	/* whoever was here when the policy came is tagged: others enter */
};
enum selector_flag {
	SELECTOR_SELF = 1,	/* the cgroup itself, whole subtree one workload */
	SELECTOR_CHILDREN = 2,	/* with SELF: children are workloads of their own */
	SELECTOR_CHILD = 4,	/* a direct child of the named cgroup */
};

/* control: array of one. */
struct control {
	u32 layout;
	u32 owner;		/* the program set that writes events, see PROGRAM_SET */
	u64 host_netns;		/* cookie of the host's network namespace */
	u64 overflow;		/* covered cgroups that found no room in scopes */
	u64 flow_keys[FLOW_KEYS];	/* secret, random: see flow_of */
	u64 tai_offset;		/* ns from the wall clock to atomic time, which helpers can tell */
	u32 spare[8];
};

/* tags: task storage. Its layout is fixed for good, so that an upgrade can reuse it. */
struct tag {
	u64 cgroup;		/* where the task was last judged */
	u64 workload;		/* cgroup id of the workload's root */
	u64 call;		/* tool call number, 0 for none */
	u32 policy;		/* slot */
	u32 grants;
	u32 flags;		/* enum tag_flag */
	u32 spare[9];
};

/* socket_tags: socket storage, cloned on accept. */
struct socket_tag {
	u64 workload;
	u64 call;
	u64 cgroup;
	u64 network_namespace;	/* cookie */
	u64 listener;		/* cookie of the socket that listened; its own clones carry it */
	u64 allowed;		/* flow_of what packets may go to without being judged again */
	u64 refused;		/* flow_of what was last refused, or EXEMPT_FLOW: told of already */
	u64 start;		/* this and the next: the task that made or last connected it */
	u32 pid;
	u32 tid;
	u32 uid;
	u32 parent;
	char comm[16];
	u32 policy;
	u32 grants;
	u32 flags;		/* enum tag_flag */
	u32 spare[5];
};

/* peers: who has reached a socket from outside and may be answered. Full: the oldest goes. */
struct peer_key {
	u64 socket;		/* cookie, of the listening socket for TCP */
	u8 address[16];
	u16 port;
	u16 protocol;
	u32 spare;
};
struct peer {
	u32 refused;
	u32 exempt;		/* only an exemption let it in: no longer than that is it answered */
	u32 revision;		/* by whose rules it was let in: under others they are asked again */
	u32 spare;
};

/* scopes: cgroup id -> this. Full: the new cgroup is counted and its tasks denied. */
struct scope {
	u64 workload;
	u64 parent;		/* workload of the slice above, 0 if none */
	u32 policy;
	u32 grants;		/* for tasks that enter from outside */
	u32 flags;		/* enum scope_flag */
	u32 spare;
};

/* selectors: cgroup path -> this; longest prefix. Full: the policy is refused. */
struct selector_key {
	u32 prefix_bits;
	char path[RULE_PATH_SIZE];
};
struct selector {
	u32 policy;
	u32 flags;		/* enum selector_flag */
};

/* policies: slot -> the ruleset in force: the one word that switches a revision. */
struct policy {
	u32 ruleset;
	u32 spare;
};

/* rulesets: written whole before a policy points to it, never changed while it does. */
struct ruleset {
	u32 policy;
	u32 revision;
	u32 mode;		/* enum mode; 0 is no ruleset */
	u32 error;		/* errno that a denial shows */
	u32 any[SECTION_COUNT];	/* grants for which the section is `any` */
	u32 loopback;		/* grants that may reach loopback of their own namespace */
	u16 any_rule[SECTION_COUNT];
	u16 loopback_rule;
	u32 guards_open;	/* bits of enum guard */
	u32 mappings_any;	/* grants that may map any file as executable memory */
	u32 spare[5];
};

/* destinations: LPM over ruleset and address. */
struct destination_key {
	u32 prefix_bits;
	u32 ruleset;
	u8 address[16];
};
struct port_range {
	u16 low;
	u16 high;
	u16 rule;
	u8 protocol;		/* IPPROTO_*, 0 for any */
	u8 spare;
	u32 grants;
};
struct destination {
	u32 count;
	struct port_range ranges[MAX_PORT_RANGES];
};

/* paths: LPM over ruleset and path. */
struct path_key {
	u32 prefix_bits;
	u32 ruleset;
	char path[RULE_PATH_SIZE];
};
struct path_verdict {
	u32 allow;		/* grants whose most specific rule here allows */
	u32 unchanged;		/* of these, the ones that allow only what has not changed */
	u16 base_rule;
	u16 grant_rule;
};

/* unix_names: LPM over ruleset and name -> struct path_verdict. */
struct unix_key {
	u32 prefix_bits;
	u32 ruleset;
	char name[UNIX_NAME_SIZE];
};

/* devices: hash. */
struct device_key {
	u32 ruleset;
	u32 block;		/* 1 for a block device */
	u32 major;
	u32 minor;		/* or ANY_MINOR */
};
struct device_verdict {
	u32 allow;
	u16 base_rule;
	u16 grant_rule;
};

/* thread_calls: thread id -> the tool call that its next children belong to. */
struct thread_call {
	u64 call;
	u64 start;		/* the thread's start, boot time in ns: ids are reused */
};

/*
 * homes: workload id -> where its own programs run, as the first of them found it. Namespaces
 * by inode number. Full: guards that need it deny.
 */
struct home {
	u64 mount_namespace;
	u64 user_namespace;
	u64 network_namespace;
	u64 root_mount;		/* the root folder: addresses of its mount and dentry, to compare */
	u64 root_dentry;
	u64 sealed;		/* when it was taken, boot time in ns */
	u64 spare[2];
};

/*
 * refused_reads: who was kept from reading whom -> the starts of both, since ids are used
 * again. One event tells of all such reads; the least used entry goes when it is full.
 */
struct refused_read {
	u32 reader;
	u32 target;
};
struct refused_starts {
	u64 reader;
	u64 target;
};

/*
 * roots: workload and mount namespace -> the root folder with which somebody outside entered
 * the workload there. Full: what enters later may start nothing under path rules.
 */
struct root_key {
	u64 workload;
	u64 namespace;		/* the kernel's number that is never given out again */
};
struct root {
	u64 mount;		/* addresses, to compare */
	u64 dentry;
	u64 cgroup;		/* whence; when it is gone, so is what entered */
	u64 sealed;		/* wall clock, ns: files that changed since are the workload's work */
};

/* workloads: workload id -> counts. attempts = sequence = delivered + suppressed + lost. */
struct workload {
	u64 sequence;
	u64 delivered;
	u64 suppressed;		/* over the workload's quota of the denial ring */
	u64 lost_denials;
	u64 lost_activity;
	u64 denial_bytes;	/* written to the denial ring, ever; consumed has what was read */
	u64 spare[2];
};

/* exemptions: workload id -> this. Looked at by what is about to be denied. Full: refused. */
struct exemption {
	u64 until;		/* boot time, ns: from then on it counts for nothing */
	u64 spare[3];
};

/*
 * One event. In an exec or mapping event the path and its NUL follow, in a unix event
 * UNIX_NAME_SIZE bytes.
 */
struct event {
	u16 version;
	u8 kind;
	u8 decision;
	u8 reason;
	u8 sequenced;		/* 0: the workload had no room for counts */
	u16 rule;
	u64 time;		/* boot time, ns */
	u64 sequence;
	u64 workload;
	u64 cgroup;
	u64 call;
	u64 start;		/* process start, boot time in ns; 0 where the hook cannot see it */
	u32 policy;
	u32 revision;
	u32 grants;
	u32 flags;		/* enum tag_flag */
	u32 pid;
	u32 tid;
	u32 uid;
	u32 parent;		/* 0 where the hook cannot see it */
	char comm[16];
	union {
		struct {
			u8 address[16];
			u16 port;
			u8 family;
			u8 type;
			u16 protocol;
			u16 local_port;	/* where a packet was judged */
		} net;
		struct {
			u32 block;
			u32 major;
			u32 minor;
			u32 spare[3];
		} device;
		struct {
			u64 inode;
			u32 device;
			u32 length;	/* of the path, without its NUL */
			u32 prefix_bits;	/* this and the next: the start of a path_key */
			u32 ruleset;
		} exec;
		struct {
			u64 workload;	/* of the peer; 0: the host's */
			u32 type;
			u32 length;	/* of the name */
			u32 prefix_bits;	/* this and the next: the start of a unix_key */
			u32 ruleset;
		} peer;
		struct {
			u32 guard;	/* enum guard */
			u32 operation;	/* enum operation */
			u32 detail;
			u32 target;	/* the process that is acted upon, 0 for none */
			u32 spare[2];
		} guard;
	};
};

/* Where a file lies, see place.c: addresses, to compare and to read from. */
struct place {
	u64 dentry;
	u64 mount;
	u64 root_mount;		/* what the path is told from; zeros: nothing */
	u64 root_dentry;
	u64 sealed;		/* of that root; 0: what it was before is not known */
	u64 candidate;		/* a mount that may show it, while one is looked for */
	u32 unlinked;
	u32 outcome;		/* whether the path led there, enum outcome */
	u32 start;		/* of the path while it is written */
	u32 spare;
};

/* exec_scratch: task storage, for paths and unix sockets' names; _long while a path needs it. */
struct exec_scratch {
	u64 program;		/* address of the file that was last allowed to start */
	struct place place;
	struct event event;	/* path must follow: the event's last 8 bytes begin a path_key */
	char path[SHORT_PATH_SIZE];
	char room[NAME_ROOM];
};
struct exec_scratch_long {
	struct exec_scratch head;	/* its path goes on in `rest`, which ends with NAME_ROOM */
	char rest[EVENT_PATH_SIZE - SHORT_PATH_SIZE];
};

/* One task in the task iterator's output. */
struct task_record {
	u32 tid;
	u32 pid;
	u64 start;
	u64 cgroup;
	struct tag tag;
};

/* iterator: what the next walk over tasks shall do; one walk at a time (enforcer/tasks.py). */
enum iterator_operation {
	ITERATE_LIST = 1,	/* report tagged tasks */
	ITERATE_RESOLVE = 2,	/* tag every task that is in a covered cgroup, report those */
	ITERATE_CALL = 3,	/* give `call` to a tagged task, drop its grants, report it */
	ITERATE_AFTER = 4,	/* end: mark the task if it still holds `call`, report it */
	ITERATE_FILTER = 5,	/* set the filter's bit of the cgroup id in `call`; no task is touched */
};
struct iterator_command {
	u32 operation;
	u32 spare;
	u64 call;
};
#endif
