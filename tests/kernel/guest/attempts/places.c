/* SPDX-License-Identifier: Apache-2.0 */
/*
 * places WAY ARGUMENT...: start a program that is not where it seems to be, or has no place.
 * What it writes is the answer; if it does not start, "errno N". A step before that fails: status 2.
 *
 * In C, because an attempt must be made by a program of the workload: whoever has only just come
 * in from outside is trusted.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static void must(int result, const char *what)
{
	if (result >= 0)
		return;
	perror(what);
	exit(2);
}

static void start(int folder, const char *name, int flags)
{
	char *words[] = { "program", NULL }, *environment[] = { NULL };

	syscall(SYS_execveat, folder, name, words, environment, flags);
	printf("errno %d", errno);
	exit(0);
}

static void start_path(const char *path)
{
	start(AT_FDCWD, path, 0);
}

static void own_mounts(void)
{
	must(unshare(CLONE_NEWNS), "unshare");
	must(mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL), "private");
}

static void copy(const char *path, int to)
{
	static char buffer[1 << 20];
	int from = open(path, O_RDONLY);
	ssize_t size;

	must(from, path);
	while ((size = read(from, buffer, sizeof(buffer))) > 0)
		must(write(to, buffer, size), "write");
	must(fchmod(to, 0755), "fchmod");
	close(from);
}

/* No writer may be left, or exec meets ETXTBSY. */
static int only_readable(int descriptor)
{
	char name[64];
	int again;

	snprintf(name, sizeof(name), "/proc/self/fd/%d", descriptor);
	again = open(name, O_RDONLY);
	must(again, name);
	close(descriptor);
	return again;
}

static void enter(const char *root)
{
	must(chroot(root), "chroot");
	must(chdir("/"), "chdir");
}

static int detached(const char *folder)
{
	int tree = syscall(SYS_open_tree, AT_FDCWD, folder, OPEN_TREE_CLONE | AT_RECURSIVE);

	must(tree, "open_tree");
	return tree;
}

int main(int count __attribute__((unused)), char **words)
{
	const char *way = words[1], *first = words[2], *second = words[3], *third = words[4];
	int descriptor;

	if (!strcmp(way, "plain")) {
		start_path(first);
	} else if (!strcmp(way, "chroot")) {
		enter(first);
		start_path(second);
	} else if (!strcmp(way, "own-mounts")) {
		own_mounts();
		start_path(first);
	} else if (!strcmp(way, "bind")) {
		own_mounts();
		must(mount(first, second, NULL, MS_BIND, NULL), "bind");
		start_path(third);
	} else if (!strcmp(way, "new-root")) {
		/* As bubblewrap does: a root of its own that shows the old one. */
		own_mounts();
		must(mount("none", first, "tmpfs", 0, NULL), "tmpfs");
		must(chdir(first), "chdir");
		must(mkdir("all", 0755), "mkdir");
		must(mount("/", "all", NULL, MS_BIND | MS_REC, NULL), "bind");
		enter("all");
		start_path(second);
	} else if (!strcmp(way, "tmpfs")) {
		own_mounts();
		must(mount("none", first, "tmpfs", 0, NULL), "tmpfs");
		must(chdir(first), "chdir");
		descriptor = open("program", O_CREAT | O_WRONLY | O_CLOEXEC, 0755);
		copy(second, descriptor);
		close(descriptor);
		must(chdir("/"), "chdir");
		start_path(third);
	} else if (!strcmp(way, "tree")) {
		start(detached(first), second, 0);
	} else if (!strcmp(way, "tree-root")) {
		must(fchdir(detached(first)), "fchdir");
		enter(".");
		start_path(second);
	} else if (!strcmp(way, "memory")) {
		descriptor = memfd_create("copy", MFD_CLOEXEC);
		copy(first, descriptor);
		start(only_readable(descriptor), "", AT_EMPTY_PATH);
	} else if (!strcmp(way, "deleted")) {
		descriptor = open(second, O_CREAT | O_WRONLY, 0755);
		copy(first, descriptor);
		descriptor = only_readable(descriptor);
		must(unlink(second), "unlink");
		start(descriptor, "", AT_EMPTY_PATH);
	} else if (!strcmp(way, "unnamed") || !strcmp(way, "named-later")) {
		char name[64];

		descriptor = open(second, O_TMPFILE | O_WRONLY, 0755);
		must(descriptor, "O_TMPFILE");
		copy(first, descriptor);
		descriptor = only_readable(descriptor);
		if (!strcmp(way, "named-later")) {
			snprintf(name, sizeof(name), "/proc/self/fd/%d", descriptor);
			must(linkat(AT_FDCWD, name, AT_FDCWD, third, AT_SYMLINK_FOLLOW), "linkat");
		}
		start(descriptor, "", AT_EMPTY_PATH);
	}
	fprintf(stderr, "%s: no such way\n", way);
	return 2;
}
