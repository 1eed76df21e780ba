/* SPDX-License-Identifier: Apache-2.0 */
/*
 * knock HOST PORT SECONDS INTERVAL_US: connect again and again; print how often each result came.
 * Output: one line "<result> <count>" each; result is `connected` or an errno's number.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec + time.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
	struct sockaddr_in to = { .sin_family = AF_INET };
	long connected = 0, results[200] = { 0 };
	double end;

	if (argc != 5)
		return 2;
	to.sin_port = htons(atoi(argv[2]));
	inet_pton(AF_INET, argv[1], &to.sin_addr);
	end = now() + atof(argv[3]);
	do {
		int s = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

		if (s < 0 || connect(s, (struct sockaddr *)&to, sizeof(to)))
			results[errno < 200 ? errno : 199]++;
		else
			connected++;
		if (s >= 0)
			close(s);
		usleep(atoi(argv[4]));
	} while (now() < end);
	if (connected)
		printf("connected %ld\n", connected);
	for (int i = 0; i < 200; i++)
		if (results[i])
			printf("%d %ld\n", i, results[i]);
	return 0;
}
