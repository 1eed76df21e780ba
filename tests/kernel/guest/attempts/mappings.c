/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mappings WAY [FILE]: get executable memory and run what is in it. Writes what came of it:
 * "42", or "errno N". FILE holds code that answers 42; see `mappings code`.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/shm.h>
#include <unistd.h>

#define SIZE 4096

#ifdef __x86_64__
static const unsigned char code[] = { 0xb8, 42, 0, 0, 0, 0xc3 };
#else
static const unsigned int code[] = { 0x52800540, 0xd65f03c0 };
#endif

static void tell(void *memory)
{
	if (memory == MAP_FAILED)
		printf("errno %d", errno);
	else
		printf("%d", ((int (*)(void))memory)());
	exit(0);
}

static void must(int result, const char *what)
{
	if (result >= 0)
		return;
	perror(what);
	exit(2);
}

static void tell_after(void *memory, int protection)
{
	if (memory == MAP_FAILED) {
		perror("mmap");
		exit(2);
	}
	tell(mprotect(memory, SIZE, protection) ? MAP_FAILED : memory);
}

static void *filled(void *memory)
{
	if (memory != MAP_FAILED)
		memcpy(memory, code, sizeof(code));
	return memory;
}

static int in_memory(void)
{
	int file = memfd_create("code", 0);

	must(ftruncate(file, SIZE), "ftruncate");
	must(pwrite(file, code, sizeof(code), 0), "pwrite");
	return file;
}

static void *map(int protection, int flags, int file)
{
	return mmap(NULL, SIZE, protection, flags, file, 0);
}

int main(int count, char **words)
{
	const int write_ = PROT_READ | PROT_WRITE, run = PROT_READ | PROT_EXEC;
	const char *way = words[1];
	int file = count > 2 ? open(words[2], O_RDONLY) : -1;

	if (count > 2)
		must(file, words[2]);
	if (!strcmp(way, "code")) {
		must(write(1, code, sizeof(code)), "write");
		return 0;
	} else if (!strcmp(way, "file")) {
		tell(map(run, MAP_PRIVATE, file));
	} else if (!strcmp(way, "file-later")) {
		tell_after(map(PROT_READ, MAP_PRIVATE, file), run);
	} else if (!strcmp(way, "file-written")) {
		tell_after(filled(map(write_, MAP_PRIVATE, file)), run);
	} else if (!strcmp(way, "file-by-personality")) {
		/* From now on what may be read may be run. */
		must(personality(READ_IMPLIES_EXEC), "personality");
		tell(map(PROT_READ, MAP_PRIVATE, file));
	} else if (!strcmp(way, "data")) {
		printf("%s", map(PROT_READ, MAP_PRIVATE, file) == MAP_FAILED ? "errno" : "42");
		return 0;
	} else if (!strcmp(way, "memory")) {
		tell(map(run, MAP_PRIVATE, in_memory()));
	} else if (!strcmp(way, "memory-twice")) {
		/* As some just-in-time compilers do: one view to write, one to run. */
		file = in_memory();
		filled(map(write_, MAP_SHARED, file));
		tell(map(run, MAP_SHARED, file));
	} else if (!strcmp(way, "memory-later")) {
		tell_after(map(write_, MAP_SHARED, in_memory()), run);
	} else if (!strcmp(way, "segment")) {
		file = shmget(IPC_PRIVATE, SIZE, 0700);
		must(file, "shmget");
		filled(shmat(file, NULL, 0));
		void *memory = shmat(file, NULL, SHM_EXEC | SHM_RDONLY);
		int number = errno;

		shmctl(file, IPC_RMID, NULL);
		errno = number;
		tell(memory);
	} else if (!strcmp(way, "anonymous")) {
		tell(filled(map(write_ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1)));
	} else if (!strcmp(way, "anonymous-later")) {
		tell_after(filled(map(write_, MAP_PRIVATE | MAP_ANONYMOUS, -1)), run);
	} else if (!strcmp(way, "shared")) {
		tell(filled(map(write_ | PROT_EXEC, MAP_SHARED | MAP_ANONYMOUS, -1)));
	} else if (!strcmp(way, "shared-later")) {
		tell_after(filled(map(write_, MAP_SHARED | MAP_ANONYMOUS, -1)), run);
	} else if (!strcmp(way, "zeros-later")) {
		file = open("/dev/zero", O_RDWR);
		tell_after(filled(map(write_, MAP_PRIVATE, file)), run);
	}
	fprintf(stderr, "%s: no such way\n", way);
	return 2;
}
