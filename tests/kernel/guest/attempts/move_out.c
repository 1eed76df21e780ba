/* SPDX-License-Identifier: Apache-2.0 */
/*
 * move_out CGROUP_FOLDER write|clone HOST PORT: leave the cgroup, by writing to its cgroup.procs
 * or by clone3(CLONE_INTO_CGROUP) through an O_PATH descriptor, then connect. Prints the errno,
 * 0 for connected, or `cannot leave N`.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static int attempt(const char *host, int port)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(port) };
	int s;

	inet_pton(AF_INET, host, &to.sin_addr);
	errno = 0;
	s = socket(AF_INET, SOCK_STREAM, 0);
	if (s < 0 || connect(s, (struct sockaddr *)&to, sizeof(to)))
		printf("%d\n", errno);
	else
		printf("0\n");
	fflush(stdout);
	return 0;
}

int main(int argc, char **argv)
{
	char path[4096];
	int fd, status;
	long child;

	if (argc != 5)
		return 2;
	if (!strcmp(argv[2], "write")) {
		snprintf(path, sizeof(path), "%s/cgroup.procs", argv[1]);
		fd = open(path, O_WRONLY);
		if (fd < 0 || write(fd, "0", 1) != 1) {
			printf("cannot leave %d\n", errno);
			return 0;
		}
		return attempt(argv[3], atoi(argv[4]));
	}
	fd = open(argv[1], O_PATH | O_DIRECTORY);
	struct clone_args args = {
		.flags = CLONE_INTO_CGROUP, .exit_signal = SIGCHLD, .cgroup = (uint64_t)fd,
	};
	child = syscall(SYS_clone3, &args, sizeof(args));
	if (child < 0) {
		printf("cannot leave %d\n", errno);
		return 0;
	}
	if (!child)
		_exit(attempt(argv[3], atoi(argv[4])));
	waitpid(child, &status, 0);
	return 0;
}
