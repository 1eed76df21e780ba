/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A stratum v1 miner: subscribes, authorises, takes a job, searches for one share
 * with SHA-256 applied twice, submits it. Usage: miner ADDRESS PORT WORKER.
 * Exit status 0 when the pool accepted the share, 1 when it could not be reached
 * or refused, 2 for wrong usage.
 */
#include <arpa/inet.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { LINE = 4096, STRINGS = 32, HEADER = 80 };

static uint32_t word_at(const uint8_t *at)
{
	return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static uint32_t rotate(uint32_t value, int by)
{
	return value >> by | value << (32 - by);
}

static uint32_t round_constant(int index)
{
	static const uint32_t constants[64] = {
		0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4,
		0xab1c5ed5, 0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe,
		0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f,
		0x4a7484aa, 0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7,
		0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967, 0x27b70a85, 0x2e1b2138, 0x4d2c6dfc,
		0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b,
		0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116,
		0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
		0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7,
		0xc67178f2,
	};
	return constants[index];
}

static void compress(uint32_t state[8], const uint8_t block[64])
{
	uint32_t schedule[64], s[8];

	for (int i = 0; i < 16; i++)
		schedule[i] = word_at(block + 4 * i);
	for (int i = 16; i < 64; i++) {
		uint32_t early = schedule[i - 15], late = schedule[i - 2];

		schedule[i] = schedule[i - 16] + schedule[i - 7] +
			      (rotate(early, 7) ^ rotate(early, 18) ^ early >> 3) +
			      (rotate(late, 17) ^ rotate(late, 19) ^ late >> 10);
	}
	memcpy(s, state, sizeof(s));
	for (int i = 0; i < 64; i++) {
		uint32_t first = s[7] + (rotate(s[4], 6) ^ rotate(s[4], 11) ^ rotate(s[4], 25)) +
				 ((s[4] & s[5]) ^ (~s[4] & s[6])) + round_constant(i) + schedule[i];
		uint32_t second = (rotate(s[0], 2) ^ rotate(s[0], 13) ^ rotate(s[0], 22)) +
				  ((s[0] & s[1]) ^ (s[0] & s[2]) ^ (s[1] & s[2]));

		memmove(s + 1, s, 7 * sizeof(s[0]));
		s[4] += first;
		s[0] = first + second;
	}
	for (int i = 0; i < 8; i++)
		state[i] += s[i];
}

static void sha256(const uint8_t *data, size_t length, uint8_t digest[32])
{
	uint32_t state[8] = { 0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
			      0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19 };
	uint8_t last[128] = { 0 };
	size_t rest = length % 64, blocks = rest < 56 ? 1 : 2;

	for (size_t at = 0; at + 64 <= length; at += 64)
		compress(state, data + at);
	memcpy(last, data + length - rest, rest);
	last[rest] = 0x80;
	for (size_t i = 0; i < 8; i++)
		last[64 * blocks - 1 - i] = (uint8_t)((uint64_t)length * 8 >> 8 * i);
	for (size_t i = 0; i < blocks; i++)
		compress(state, last + 64 * i);
	for (int i = 0; i < 32; i++)
		digest[i] = (uint8_t)(state[i / 4] >> (24 - 8 * (i % 4)));
}

static void sha256d(const uint8_t *data, size_t length, uint8_t digest[32])
{
	uint8_t once[32];

	sha256(data, length, once);
	sha256(once, sizeof(once), digest);
}

static size_t from_hex(const char *text, uint8_t *bytes, size_t room)
{
	size_t length = 0;
	unsigned int value;

	while (length < room && sscanf(text + 2 * length, "%2x", &value) == 1)
		bytes[length++] = (uint8_t)value;
	return length;
}

/* Appends four bytes of a big-endian hexadecimal word in the header's order. */
static void put_word(uint8_t *header, size_t *at, const char *text)
{
	uint8_t word[4] = { 0 };

	from_hex(text, word, sizeof(word));
	for (int i = 3; i >= 0; i--)
		header[(*at)++] = word[i];
}

/* Cuts the JSON strings that follow "key" out of the line, in place; returns how many. */
static int strings_after(char *line, const char *key, char *found[STRINGS])
{
	char *at = strstr(line, key);
	int count = 0;

	if (at == NULL)
		return 0;
	at += strlen(key);
	while (count < STRINGS && (at = strchr(at, '"')) != NULL) {
		char *end = strchr(at + 1, '"');

		if (end == NULL)
			break;
		*end = '\0';
		found[count++] = at + 1;
		at = end + 1;
	}
	return count;
}

/* A stream per direction: one stream would have to seek between reading and writing. */
struct pool {
	FILE *in, *out;
};

static int reach(struct pool *pool, const char *address, const char *port)
{
	struct sockaddr_in place = { .sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port)) };
	int connection = socket(AF_INET, SOCK_STREAM, 0);

	if (connection < 0 || inet_pton(AF_INET, address, &place.sin_addr) != 1 ||
	    connect(connection, (struct sockaddr *)&place, sizeof(place)) != 0)
		return 0;
	pool->in = fdopen(connection, "r");
	pool->out = fdopen(dup(connection), "w");
	return pool->in != NULL && pool->out != NULL;
}

struct work {
	char extranonce1[32], job[32], time[16];
	uint8_t header[HEADER];
	double difficulty;
};

static const char extranonce2[] = "00000001";

/* Builds the header from mining.notify: job, previous, head, tail, branches, version, bits, time. */
static int prepare(struct work *work, char *line)
{
	char *part[STRINGS], coinbase[LINE];
	uint8_t bytes[LINE], pair[64];
	size_t at = 0;
	int parts = strings_after(line, "\"params\"", part);

	if (parts < 7)
		return 0;
	snprintf(work->job, sizeof(work->job), "%s", part[0]);
	snprintf(work->time, sizeof(work->time), "%s", part[parts - 1]);
	snprintf(coinbase, sizeof(coinbase), "%s%s%s%s", part[2], work->extranonce1, extranonce2,
		 part[3]);
	sha256d(bytes, from_hex(coinbase, bytes, sizeof(bytes)), pair);
	for (int i = 4; i < parts - 3; i++) {
		from_hex(part[i], pair + 32, 32);
		sha256d(pair, 64, pair);
	}
	put_word(work->header, &at, part[parts - 3]);
	for (int i = 0; i < 8; i++)
		put_word(work->header, &at, part[1] + 8 * i);
	memcpy(work->header + at, pair, 32);
	at += 32;
	put_word(work->header, &at, work->time);
	put_word(work->header, &at, part[parts - 2]);
	return 1;
}

static int search(struct work *work, uint32_t *nonce)
{
	/* The upper 64 bits of difficulty 1's target, 0xffff << 208. */
	double target = (double)0xffff0000u / work->difficulty;

	for (*nonce = 0; *nonce < UINT32_MAX; (*nonce)++) {
		uint8_t digest[32];
		uint64_t upper = 0;

		for (int i = 0; i < 4; i++)
			work->header[76 + i] = (uint8_t)(*nonce >> 8 * i);
		sha256d(work->header, HEADER, digest);
		for (int i = 31; i >= 24; i--)
			upper = upper << 8 | digest[i];
		if ((double)upper < target)
			return 1;
	}
	return 0;
}

static int mine(struct pool *pool, const char *worker)
{
	struct work work = { .difficulty = 1.0 };
	char line[LINE], *part[STRINGS];
	uint32_t nonce;

	fprintf(pool->out, "{\"id\":1,\"method\":\"mining.subscribe\",\"params\":[\"miner/1\"]}\n");
	fflush(pool->out);
	if (fgets(line, sizeof(line), pool->in) == NULL || strings_after(line, "\"result\"", part) < 5)
		return 0;
	snprintf(work.extranonce1, sizeof(work.extranonce1), "%s", part[4]);
	fprintf(pool->out, "{\"id\":2,\"method\":\"mining.authorize\",\"params\":[\"%s\",\"x\"]}\n", worker);
	fflush(pool->out);
	while (fgets(line, sizeof(line), pool->in) != NULL) {
		char *parameters = strstr(line, "\"params\": [");

		if (strstr(line, "mining.set_difficulty") != NULL && parameters != NULL)
			work.difficulty = atof(parameters + strlen("\"params\": ["));
		else if (strstr(line, "mining.notify") != NULL)
			break;
	}
	if (!prepare(&work, line) || !search(&work, &nonce))
		return 0;
	fprintf(pool->out, "{\"id\":3,\"method\":\"mining.submit\",\"params\":[\"%s\",\"%s\",\"%s\",\"%s\",\"%08x\"]}\n",
		worker, work.job, extranonce2, work.time, nonce);
	fflush(pool->out);
	return fgets(line, sizeof(line), pool->in) != NULL && strstr(line, "\"result\": true") != NULL;
}

int main(int count, char **arguments)
{
	struct pool pool;

	if (count != 4) {
		fprintf(stderr, "usage: %s ADDRESS PORT WORKER\n", arguments[0]);
		return 2;
	}
	if (!reach(&pool, arguments[1], arguments[2])) {
		fprintf(stderr, "miner: pool %s:%s: ", arguments[1], arguments[2]);
		perror(NULL);
		return 1;
	}
	if (!mine(&pool, arguments[3])) {
		fprintf(stderr, "miner: pool %s:%s: no share accepted\n", arguments[1], arguments[2]);
		return 1;
	}
	printf("miner: share accepted\n");
	return 0;
}
