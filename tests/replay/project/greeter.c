/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The small project that the replay clones, builds and tests: an HTTP server on
 * loopback. Usage: greeter PORT [REQUESTS]; it ends after REQUESTS answers.
 */
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static const char answer[] = "HTTP/1.0 200 OK\r\nContent-Length: 20\r\n\r\nhello from greeter.\n";

int main(int count, char **arguments)
{
	struct sockaddr_in place = { .sin_family = AF_INET };
	int listening = socket(AF_INET, SOCK_STREAM, 0), yes = 1;
	long requests = count > 2 ? atol(arguments[2]) : -1;

	if (count < 2) {
		fprintf(stderr, "usage: %s PORT [REQUESTS]\n", arguments[0]);
		return 2;
	}
	place.sin_port = htons((uint16_t)atoi(arguments[1]));
	place.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	setsockopt(listening, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
	if (bind(listening, (struct sockaddr *)&place, sizeof(place)) != 0 ||
	    listen(listening, 16) != 0) {
		perror("greeter");
		return 1;
	}
	printf("listening\n");
	fflush(stdout);
	while (requests-- != 0) {
		char request[1024];
		int connection = accept(listening, NULL, NULL);

		if (connection < 0)
			return 1;
		if (read(connection, request, sizeof(request)) > 0 &&
		    write(connection, answer, sizeof(answer) - 1) < 0)
			perror("greeter: write");
		close(connection);
	}
	return 0;
}
