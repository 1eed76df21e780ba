/* SPDX-License-Identifier: Apache-2.0 */
/*
 * uring connect ADDRESS PORT | uring open PATH | uring openat2 PATH: the same as the system
 * call, by io_uring. uring worker PATH: an open that one of the kernel's workers does.
 * Exit status: 0, or the errno that the operation or the ring's making met.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

static void fail(const char *what)
{
	int error = errno;

	fprintf(stderr, "%s: %s\n", what, strerror(error));
	exit(error);
}

/* One entry, submitted and waited for; returns its result. */
static int submit(const struct io_uring_sqe *entry)
{
	struct io_uring_params params = { 0 };
	struct io_uring_sqe *entries;
	struct io_uring_cqe *results;
	char *ring;
	int fd;

	fd = syscall(SYS_io_uring_setup, 4, &params);
	if (fd < 0)
		fail("io_uring_setup");
	ring = mmap(0, params.cq_off.cqes + params.cq_entries * sizeof(*results),
		    PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, IORING_OFF_SQ_RING);
	entries = mmap(0, params.sq_entries * sizeof(*entries), PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_POPULATE, fd, IORING_OFF_SQES);
	if (ring == MAP_FAILED || entries == MAP_FAILED)
		fail("mmap");
	entries[0] = *entry;
	((unsigned *)(ring + params.sq_off.array))[0] = 0;
	*(volatile unsigned *)(ring + params.sq_off.tail) = 1;
	if (syscall(SYS_io_uring_enter, fd, 1, 1, IORING_ENTER_GETEVENTS, 0, 0) < 0)
		fail("io_uring_enter");
	results = (struct io_uring_cqe *)(ring + params.cq_off.cqes);
	return results[0].res;
}

int main(int argc, char **argv)
{
	struct io_uring_sqe entry = { 0 };
	struct sockaddr_in to = { .sin_family = AF_INET };
	struct open_how how = { .flags = O_RDONLY };
	int result;

	if (argc == 4 && !strcmp(argv[1], "connect")) {
		to.sin_port = htons(atoi(argv[3]));
		inet_pton(AF_INET, argv[2], &to.sin_addr);
		entry.opcode = IORING_OP_CONNECT;
		entry.fd = socket(AF_INET, SOCK_STREAM, 0);
		entry.addr = (unsigned long)&to;
		entry.off = sizeof(to);
	} else if (argc == 3 && !strcmp(argv[1], "openat2")) {
		entry.opcode = IORING_OP_OPENAT2;
		entry.fd = AT_FDCWD;
		entry.addr = (unsigned long)argv[2];
		entry.len = sizeof(how);
		entry.off = (unsigned long)&how;
	} else if (argc == 3 && (!strcmp(argv[1], "open") || !strcmp(argv[1], "worker"))) {
		entry.opcode = IORING_OP_OPENAT;
		entry.fd = AT_FDCWD;
		entry.addr = (unsigned long)argv[2];
		entry.open_flags = O_RDONLY;
		if (!strcmp(argv[1], "worker"))
			entry.flags = IOSQE_ASYNC;
	} else {
		return 2;
	}
	result = submit(&entry);
	if (result < 0) {
		errno = -result;
		fail(argv[1]);
	}
	return 0;
}
