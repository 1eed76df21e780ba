/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Unix sockets; NAME is a path, or @NAME for an abstract one.
 *
 *   local reach TYPE NAME   connect and send a word
 *   local send NAME         a datagram to an address, never connected
 *   local later NAME        connect a datagram socket; send at the first line of input
 *   local serve NAME        listen; print "ready", then what the first client sends
 *   local own TYPE NAME     serve and reach in one process and its child
 *   local pairs             talk to a child over socketpairs, and give it a descriptor
 *
 * Exit status: 0, or the errno that was met. TYPE: stream, seqpacket, datagram.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define WORD "attempt"

static int checked(int result, const char *what)
{
	int error = errno;

	if (result < 0) {
		fprintf(stderr, "%s: %s\n", what, strerror(error));
		exit(error);
	}
	return result;
}

static int type_of(const char *text)
{
	if (!strcmp(text, "seqpacket"))
		return SOCK_SEQPACKET;
	return strcmp(text, "datagram") ? SOCK_STREAM : SOCK_DGRAM;
}

static socklen_t address_of(struct sockaddr_un *address, const char *name)
{
	memset(address, 0, sizeof(*address));
	address->sun_family = AF_UNIX;
	strncpy(address->sun_path, name, sizeof(address->sun_path) - 1);
	if (*name == '@')
		address->sun_path[0] = 0;
	return offsetof(struct sockaddr_un, sun_path) + strlen(name) + (*name != '@');
}

static int bound(int type, const char *name)
{
	struct sockaddr_un address;
	socklen_t length = address_of(&address, name);
	int fd = checked(socket(AF_UNIX, type, 0), "socket");

	checked(bind(fd, (struct sockaddr *)&address, length), "bind");
	if (type != SOCK_DGRAM)
		checked(listen(fd, 8), "listen");
	return fd;
}

static int connected(int type, const char *name)
{
	struct sockaddr_un address;
	socklen_t length = address_of(&address, name);
	int fd = checked(socket(AF_UNIX, type, 0), "socket");

	checked(connect(fd, (struct sockaddr *)&address, length), "connect");
	return fd;
}

static int received(int fd, int type)
{
	char text[64] = "";

	if (type != SOCK_DGRAM)
		fd = checked(accept(fd, 0, 0), "accept");
	checked(recv(fd, text, sizeof(text) - 1, 0), "recv");
	puts(text);
	return strcmp(text, WORD) ? EPROTO : 0;
}

static int child_status(void)
{
	int status;

	checked(wait(&status), "wait");
	return WIFEXITED(status) ? WEXITSTATUS(status) : EINTR;
}

static int own(int type, const char *name)
{
	int fd = bound(type, name), problem;

	if (!fork()) {
		checked(send(connected(type, name), WORD, strlen(WORD), 0), "send");
		_exit(0);
	}
	problem = child_status();
	return problem ? problem : received(fd, type);
}

/* A word over each type of pair, and one end of another pair by SCM_RIGHTS. */
static int pairs(void)
{
	int types[] = { SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET };
	char control[CMSG_SPACE(sizeof(int))] = "", text[64] = "";
	struct iovec vector = { text, 1 };
	struct msghdr message = {
		.msg_iov = &vector, .msg_iovlen = 1,
		.msg_control = control, .msg_controllen = sizeof(control),
	};
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);

	for (int i = 0; i < 3; i++) {
		int ends[2], given[2];

		checked(socketpair(AF_UNIX, types[i], 0, ends), "socketpair");
		checked(socketpair(AF_UNIX, types[i], 0, given), "socketpair");
		if (!fork()) {
			checked(recvmsg(ends[1], &message, 0), "recvmsg");
			checked(send(*(int *)CMSG_DATA(header), WORD, strlen(WORD), 0), "send");
			_exit(0);
		}
		header->cmsg_level = SOL_SOCKET;
		header->cmsg_type = SCM_RIGHTS;
		header->cmsg_len = CMSG_LEN(sizeof(int));
		*(int *)CMSG_DATA(header) = given[1];
		checked(sendmsg(ends[0], &message, 0), "sendmsg");
		if (child_status())
			return EPROTO;
		checked(recv(given[0], text, sizeof(text) - 1, 0), "recv");
		if (strcmp(text, WORD))
			return EPROTO;
	}
	return 0;
}

int main(int argc, char **argv)
{
	struct sockaddr_un address;
	char line[8];
	int fd;

	setlinebuf(stdout);
	if (argc == 4 && !strcmp(argv[1], "reach")) {
		fd = connected(type_of(argv[2]), argv[3]);
		checked(send(fd, WORD, strlen(WORD), MSG_NOSIGNAL), "send");
	} else if (argc == 3 && !strcmp(argv[1], "send")) {
		socklen_t length = address_of(&address, argv[2]);

		fd = checked(socket(AF_UNIX, SOCK_DGRAM, 0), "socket");
		checked(sendto(fd, WORD, strlen(WORD), 0, (struct sockaddr *)&address, length),
			"sendto");
	} else if (argc == 3 && !strcmp(argv[1], "later")) {
		fd = connected(SOCK_DGRAM, argv[2]);
		puts("ready");
		if (!fgets(line, sizeof(line), stdin))
			return EPIPE;
		checked(send(fd, WORD, strlen(WORD), 0), "send");
	} else if (argc == 3 && !strcmp(argv[1], "serve")) {
		fd = bound(SOCK_STREAM, argv[2]);
		puts("ready");
		return received(fd, SOCK_STREAM);
	} else if (argc == 4 && !strcmp(argv[1], "own")) {
		return own(type_of(argv[2]), argv[3]);
	} else if (argc == 2 && !strcmp(argv[1], "pairs")) {
		return pairs();
	} else {
		return EINVAL;
	}
	return 0;
}
