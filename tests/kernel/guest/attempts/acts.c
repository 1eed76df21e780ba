/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A process that does what it is told, one line at a time: words in, "= VALUE" or "! ERRNO" out.
 * Started in a workload it is one of its programs, and stays one process for many attempts.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/perf_event.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/io.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define WORDS 8
#define ARRAY(a) (sizeof(a) / sizeof((a)[0]))

static char secret[] = "a-secret";
static char text[256];
static char *word[WORDS];

static long number(int index)
{
	return word[index] ? strtol(word[index], NULL, 0) : 0;
}

static long say(const char *what)
{
	snprintf(text, sizeof(text), "%s", what);
	return 0;
}

static long say_number(long value)
{
	if (value < 0)
		return -1;
	snprintf(text, sizeof(text), "%ld", value);
	return 0;
}

static long where(void)
{
	return say_number((long)secret);
}

static long send_signal(void)
{
	return kill(number(1), number(2));
}

static long attach(void)
{
	pid_t pid = number(1);

	if (ptrace(PTRACE_ATTACH, pid, 0, 0))
		return -1;
	waitpid(pid, NULL, __WALL);
	return ptrace(PTRACE_DETACH, pid, 0, 0);
}

/* As gdb and strace do with what they start. */
static long trace_child(void)
{
	pid_t pid = fork();
	int status;

	if (!pid) {
		if (ptrace(PTRACE_TRACEME, 0, 0, 0))
			_exit(errno);
		raise(SIGSTOP);
		_exit(0);
	}
	waitpid(pid, &status, 0);
	if (!WIFSTOPPED(status)) {
		errno = WEXITSTATUS(status);
		return -1;
	}
	ptrace(PTRACE_CONT, pid, 0, 0);
	waitpid(pid, &status, 0);
	return say_number(WEXITSTATUS(status));
}

static long vm_read(void)
{
	struct iovec here = { text, sizeof(secret) }, there = { (void *)number(2), sizeof(secret) };

	return process_vm_readv(number(1), &here, 1, &there, 1, 0) < 0 ? -1 : 0;
}

static long vm_write(void)
{
	struct iovec here = { word[3], strlen(word[3]) + 1 };
	struct iovec there = { (void *)number(2), strlen(word[3]) + 1 };

	return process_vm_writev(number(1), &here, 1, &there, 1, 0) < 0 ? -1 : 0;
}

static long own_secret(void)
{
	return say(secret);
}

static long read_at(void)
{
	int file = open(word[1], O_RDONLY);
	long length = file < 0 ? -1 : pread(file, text, sizeof(text) - 1, number(2));

	if (file >= 0)
		close(file);
	for (long i = 0; i < length; i++)
		if (text[i] == '\n')
			text[i] = 0;
	return length < 0 ? -1 : 0;
}

static long write_to(void)
{
	int file = open(word[1], O_WRONLY);
	long length = file < 0 ? -1 : write(file, word[2], strlen(word[2]));

	if (file >= 0)
		close(file);
	return length < 0 ? -1 : 0;
}

/* Opens it and does nothing, where a write would end the machine. */
static long open_to_write(void)
{
	int file = open(word[1], O_WRONLY);

	return file < 0 ? -1 : close(file);
}

static long link_text(void)
{
	return readlink(word[1], text, sizeof(text) - 1) < 0 ? -1 : 0;
}

static long take_descriptor(void)
{
	int process = syscall(SYS_pidfd_open, number(1), 0);

	return say_number(syscall(SYS_pidfd_getfd, process, number(2), 0));
}

static long make_child(void)
{
	pid_t pid = fork();

	if (!pid)
		prctl(PR_SET_PDEATHSIG, SIGKILL);
	while (!pid)
		pause();
	return say_number(pid);
}

static long reap(void)
{
	int status;

	return waitpid(number(1), &status, 0) < 0 ? -1 : say_number(WTERMSIG(status));
}

static long do_mount(void)
{
	return mount(word[1], word[2], word[3], number(4), word[5]);
}

static long do_unmount(void)
{
	return umount2(word[1], number(2));
}

/* The file system API: a mount that is made without a place, then put there. */
static long new_mount(void)
{
	int made, fs = syscall(SYS_fsopen, word[1], 0);

	if (fs < 0 || syscall(SYS_fsconfig, fs, 6, NULL, NULL, 0))
		return -1;
	made = syscall(SYS_fsmount, fs, 0, 0);
	close(fs);
	return say_number(made);
}

static long place_mount(void)
{
	return syscall(SYS_move_mount, number(1), "", AT_FDCWD, word[2], 4);
}

static long copy_tree(void)
{
	return say_number(syscall(SYS_open_tree, AT_FDCWD, word[1], 1));
}

static long do_unshare(void)
{
	return unshare(number(1));
}

static long do_pivot(void)
{
	return syscall(SYS_pivot_root, word[1], word[2]);
}

static long use_bpf(void)
{
	union bpf_attr attr = {
		.map_type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = 4, .max_entries = 1,
	};

	return say_number(syscall(SYS_bpf, BPF_MAP_CREATE, &attr, sizeof(attr)));
}

static long use_perf(void)
{
	struct perf_event_attr attr = {
		.type = PERF_TYPE_SOFTWARE, .size = sizeof(attr),
		.config = PERF_COUNT_SW_TASK_CLOCK, .exclude_kernel = 1,
	};

	return say_number(syscall(SYS_perf_event_open, &attr, 0, -1, -1, 0));
}

static long load_module(void)
{
	int file = open(word[1], O_RDONLY | O_CLOEXEC);

	return syscall(SYS_finit_module, file, "", 0);
}

static long unload_module(void)
{
	return syscall(SYS_delete_module, word[1], O_NONBLOCK);
}

static long raw_ports(void)
{
	return iopl(number(1));
}

static long link_flags(unsigned long request, int flags)
{
	int sock = socket(AF_INET, SOCK_DGRAM, 0);
	struct ifreq wanted = { .ifr_flags = flags };
	long result;

	snprintf(wanted.ifr_name, sizeof(wanted.ifr_name), "%s", word[1]);
	result = ioctl(sock, request, &wanted);
	close(sock);
	return result ? -1 : say_number(wanted.ifr_flags & IFF_UP);
}

static long link_up(void)
{
	return link_flags(SIOCSIFFLAGS, number(2) ? IFF_UP : 0);
}

static long link_read(void)
{
	return link_flags(SIOCGIFFLAGS, 0);
}

static long new_socket(void)
{
	return say_number(socket(number(1), number(2), number(3)));
}

/* Takes a descriptor that somebody sends to a unix socket of this name. */
static long receive(void)
{
	struct sockaddr_un name = { .sun_family = AF_UNIX };
	char byte, room[CMSG_SPACE(sizeof(int))];
	struct iovec bytes = { &byte, 1 };
	struct msghdr message = {
		.msg_iov = &bytes, .msg_iovlen = 1,
		.msg_control = room, .msg_controllen = sizeof(room),
	};
	int sock = socket(AF_UNIX, SOCK_STREAM, 0);
	struct cmsghdr *head;

	snprintf(name.sun_path, sizeof(name.sun_path), "%s", word[1]);
	if (connect(sock, (struct sockaddr *)&name, sizeof(name)))
		return -1;
	if (recvmsg(sock, &message, 0) < 0)
		return -1;
	close(sock);
	head = CMSG_FIRSTHDR(&message);
	if (!head || head->cmsg_len < CMSG_LEN(sizeof(int)))
		return say("nothing");
	return say_number(*(int *)CMSG_DATA(head));
}

static long use_socket(void)
{
	long length = write(number(1), word[2], strlen(word[2]));

	return length < 0 ? -1 : say_number(length);
}

static long do_unlink(void)
{
	return number(2) ? rmdir(word[1]) : unlink(word[1]);
}

static long do_rename(void)
{
	return rename(word[1], word[2]);
}

static long make_folder(void)
{
	return mkdir(word[1], 0755);
}

static const struct {
	const char *name;
	long (*act)(void);
} ACTS[] = {
	{ "where", where }, { "secret", own_secret }, { "signal", send_signal },
	{ "attach", attach }, { "trace-child", trace_child }, { "vm-read", vm_read },
	{ "vm-write", vm_write }, { "read", read_at }, { "write", write_to },
	{ "open-to-write", open_to_write }, { "link", link_text },
	{ "take-descriptor", take_descriptor }, { "child", make_child }, { "reap", reap },
	{ "mount", do_mount }, { "unmount", do_unmount }, { "new-mount", new_mount },
	{ "place-mount", place_mount }, { "copy-tree", copy_tree }, { "unshare", do_unshare },
	{ "pivot", do_pivot }, { "bpf", use_bpf }, { "perf", use_perf },
	{ "load-module", load_module }, { "unload-module", unload_module },
	{ "raw-ports", raw_ports }, { "link-up", link_up }, { "link-read", link_read },
	{ "socket", new_socket }, { "receive", receive }, { "send", use_socket },
	{ "unlink", do_unlink }, { "rename", do_rename }, { "mkdir", make_folder },
};

int main(void)
{
	char line[1024];

	setvbuf(stdout, NULL, _IOLBF, 0);
	while (fgets(line, sizeof(line), stdin)) {
		size_t count = 0, index;
		char *rest = line;

		line[strcspn(line, "\n")] = 0;
		memset(word, 0, sizeof(word));
		memset(text, 0, sizeof(text));
		while (count < WORDS && (word[count] = strsep(&rest, " ")))
			count++;
		for (index = 0; index < ARRAY(ACTS); index++)
			if (!strcmp(word[0], ACTS[index].name))
				break;
		if (index == ARRAY(ACTS))
			printf("! %d\n", ENOSYS);
		else if (ACTS[index].act() < 0)
			printf("! %d\n", errno);
		else
			printf("= %s\n", text);
	}
	return 0;
}
