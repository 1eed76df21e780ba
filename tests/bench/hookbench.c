/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Times attempts, one by one, and prints a line for each kind of attempt:
 *
 *     NAME ERRNO SAMPLES LOWEST MEDIAN P90
 *
 * In a VM that counts instructions as nanoseconds the times are instructions. Every kind is
 * tried in every run, whatever is loaded; names that end in _denied are what the benchmark's
 * policy denies. ERRNO is 0 where the attempt succeeded, -1 where it went both ways.
 *
 *     hookbench FOLDER            all kinds; see tests/bench/guest.py for what FOLDER holds
 *     hookbench FOLDER allowed    those that nobody denies
 *     hookbench FOLDER flood N    opens /dev/null N times, to make N events
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/personality.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define SAMPLES 301
#define PROCESS_SAMPLES 201
#define DENIED_SAMPLES 61	/* two runs' denials must fit into the workload's quota */
#define WARM_UP 8
#define PAYLOAD 64
#define PORT 9999
#define CLIENT_PORT 9998

static char allowed_program[256], denied_program[256], regular_file[256], gpu_node[256];
static struct sockaddr_in allowed_address, denied_address;
static int listener, receiver;		/* everything that is connected or sent arrives here */
static int sender, connected_sender;	/* datagrams */
static int stream, stream_end;		/* an established connection, both ends */
static int descriptor;			/* of the attempt being made */

static long long now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1000000000LL + time.tv_nsec;
}

static void nothing(void) {}

static void close_descriptor(void)
{
	if (descriptor >= 0)
		close(descriptor);
}

static void make_datagram_socket(void)
{
	descriptor = socket(AF_INET, SOCK_DGRAM, 0);
}

/* Its own port, and no TIME_WAIT: else a connection costs more the more there were. */
static void make_stream_socket(void)
{
	struct sockaddr_in from = { .sin_family = AF_INET, .sin_port = htons(CLIENT_PORT) };
	struct linger reset = { .l_onoff = 1 };
	int one = 1;

	descriptor = socket(AF_INET, SOCK_STREAM, 0);
	from.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) ||
	    setsockopt(descriptor, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset)) ||
	    bind(descriptor, (void *)&from, sizeof(from)))
		err(1, "port %d", CLIENT_PORT);
}

static void take_connection(void)
{
	int accepted;

	close(descriptor);
	accepted = accept(listener, 0, 0);
	if (accepted >= 0)
		close(accepted);
}

static void take_datagram(void)
{
	char data[PAYLOAD];

	recv(receiver, data, sizeof(data), MSG_DONTWAIT);
}

static void take_from_stream(void)
{
	char data[PAYLOAD];

	recv(stream_end, data, sizeof(data), MSG_DONTWAIT);
}

static int read_clock(void)
{
	return 0;
}

static int connect_allowed(void)
{
	return connect(descriptor, (void *)&allowed_address, sizeof(allowed_address)) ? errno : 0;
}

static int connect_denied(void)
{
	return connect(descriptor, (void *)&denied_address, sizeof(denied_address)) ? errno : 0;
}

static int send_to(const struct sockaddr_in *address)
{
	static const char data[PAYLOAD];

	return sendto(sender, data, sizeof(data), 0, (const void *)address, sizeof(*address)) < 0
		       ? errno : 0;
}

static int send_to_allowed(void)
{
	return send_to(&allowed_address);
}

static int send_to_denied(void)
{
	return send_to(&denied_address);
}

static int send_stream(void)
{
	static const char data[PAYLOAD];

	return send(stream, data, sizeof(data), 0) < 0 ? errno : 0;
}

static int send_datagram(void)
{
	static const char data[PAYLOAD];

	return send(connected_sender, data, sizeof(data), 0) < 0 ? errno : 0;
}

/* A child that could not start the program ends with the errno. */
static int run(char *program)
{
	char *const arguments[] = { program, 0 };
	char *const environment[] = { 0 };
	int status = 0;
	pid_t child = vfork();

	if (!child) {
		execve(program, arguments, environment);
		_exit(errno);
	}
	if (child < 0)
		return errno;
	waitpid(child, &status, 0);
	return WEXITSTATUS(status);
}

static int run_allowed(void)
{
	return run(allowed_program);
}

static int run_denied(void)
{
	return run(denied_program);
}

static int fork_and_wait(void)
{
	int status = 0;
	pid_t child = fork();

	if (!child)
		_exit(0);
	if (child < 0)
		return errno;
	waitpid(child, &status, 0);
	return WEXITSTATUS(status);
}

static int open_path(const char *path)
{
	descriptor = open(path, O_RDONLY | O_CLOEXEC);
	return descriptor < 0 ? errno : 0;
}

static int open_regular(void)
{
	return open_path(regular_file);
}

static int open_null(void)
{
	return open_path("/dev/null");
}

static int open_gpu(void)
{
	return open_path(gpu_node);
}

static int make_socket(int family, int type, int protocol)
{
	descriptor = socket(family, type, protocol);
	return descriptor < 0 ? errno : 0;
}

static int make_inet(void)
{
	return make_socket(AF_INET, SOCK_STREAM, 0);
}

static int make_unix(void)
{
	return make_socket(AF_UNIX, SOCK_STREAM, 0);
}

static int make_raw(void)
{
	return make_socket(AF_INET, SOCK_RAW, IPPROTO_ICMP);
}

static const struct kind {
	const char *name;
	void (*prepare)(void);
	int (*attempt)(void);	/* the part that is timed */
	void (*finish)(void);
	int samples;
} kinds[] = {
	{ "clock", nothing, read_clock, nothing, SAMPLES },
	{ "connect_udp", make_datagram_socket, connect_allowed, close_descriptor, SAMPLES },
	{ "connect_tcp", make_stream_socket, connect_allowed, take_connection, SAMPLES },
	{ "connect_tcp_denied", make_stream_socket, connect_denied, take_connection, DENIED_SAMPLES },
	{ "sendto", nothing, send_to_allowed, take_datagram, SAMPLES },
	{ "sendto_denied", nothing, send_to_denied, take_datagram, DENIED_SAMPLES },
	{ "send_tcp", nothing, send_stream, take_from_stream, SAMPLES },
	{ "send_udp", nothing, send_datagram, take_datagram, SAMPLES },
	{ "exec", nothing, run_allowed, nothing, PROCESS_SAMPLES },
	{ "exec_denied", nothing, run_denied, nothing, DENIED_SAMPLES },
	{ "fork", nothing, fork_and_wait, nothing, PROCESS_SAMPLES },
	{ "open_file", nothing, open_regular, close_descriptor, SAMPLES },
	{ "open_null", nothing, open_null, close_descriptor, SAMPLES },
	{ "open_gpu_denied", nothing, open_gpu, close_descriptor, DENIED_SAMPLES },
	{ "socket_inet", nothing, make_inet, close_descriptor, SAMPLES },
	{ "socket_unix", nothing, make_unix, close_descriptor, SAMPLES },
	{ "socket_raw_denied", nothing, make_raw, close_descriptor, DENIED_SAMPLES },
};

static int compare(const void *left, const void *right)
{
	long long difference = *(const long long *)left - *(const long long *)right;

	return (difference > 0) - (difference < 0);
}

static void measure(const struct kind *kind)
{
	static long long times[SAMPLES];
	int outcome = 0;

	for (int i = -WARM_UP; i < kind->samples; i++) {
		long long start, end;
		int result;

		kind->prepare();
		start = now();
		result = kind->attempt();
		end = now();
		kind->finish();
		if (i < 0)
			continue;
		times[i] = end - start;
		if (i && result != outcome)
			outcome = -1;
		else
			outcome = result;
	}
	qsort(times, kind->samples, sizeof(times[0]), compare);
	printf("%s %d %d %lld %lld %lld\n", kind->name, outcome, kind->samples, times[0],
	       times[kind->samples / 2], times[kind->samples * 9 / 10]);
}

static int bound_socket(int type)
{
	struct sockaddr_in any = { .sin_family = AF_INET, .sin_port = allowed_address.sin_port };
	int made = socket(AF_INET, type, 0), one = 1;

	if (made < 0 || setsockopt(made, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) ||
	    bind(made, (void *)&any, sizeof(any)))
		err(1, "port %d", ntohs(any.sin_port));
	return made;
}

static void set_up(const char *folder)
{
	snprintf(allowed_program, sizeof(allowed_program), "%s/allowed/true", folder);
	snprintf(denied_program, sizeof(denied_program), "%s/denied/true", folder);
	snprintf(regular_file, sizeof(regular_file), "%s/allowed/file", folder);
	snprintf(gpu_node, sizeof(gpu_node), "%s/allowed/gpu", folder);
	allowed_address = (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons(PORT) };
	allowed_address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	denied_address = allowed_address;
	denied_address.sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1);
	listener = bound_socket(SOCK_STREAM);
	if (listen(listener, 16))
		err(1, "listen");
	receiver = bound_socket(SOCK_DGRAM);
	sender = socket(AF_INET, SOCK_DGRAM, 0);
	connected_sender = socket(AF_INET, SOCK_DGRAM, 0);
	stream = socket(AF_INET, SOCK_STREAM, 0);
	if (connect(connected_sender, (void *)&allowed_address, sizeof(allowed_address)) ||
	    connect(stream, (void *)&allowed_address, sizeof(allowed_address)))
		err(1, "connection to ourselves");
	stream_end = accept(listener, 0, 0);
	if (stream_end < 0)
		err(1, "accept");
	/* A denied connection never arrives. */
	if (fcntl(listener, F_SETFL, O_NONBLOCK))
		err(1, "listener");
}

int main(int count, char **arguments)
{
	/* Page tables, and so the cost of a fork, depend on where things lie. */
	if (!(personality(0xffffffff) & ADDR_NO_RANDOMIZE)) {
		personality(ADDR_NO_RANDOMIZE);
		execv("/proc/self/exe", arguments);
		err(1, "/proc/self/exe");
	}
	if (count == 4 && !strcmp(arguments[2], "flood")) {
		for (long left = atol(arguments[3]); left > 0; left--) {
			if (open_null())
				err(1, "/dev/null");
			close(descriptor);
		}
		return 0;
	}
	bool only_allowed = count == 3 && !strcmp(arguments[2], "allowed");
	if (count != 2 && !only_allowed)
		errx(2, "usage: hookbench FOLDER [allowed | flood N]");
	set_up(arguments[1]);
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if (!only_allowed || !strstr(kinds[i].name, "_denied"))
			measure(&kinds[i]);
	return 0;
}
