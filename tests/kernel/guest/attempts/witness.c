/* SPDX-License-Identifier: Apache-2.0 */
/* A program whose start can be seen: it says so on standard output. */
#include <unistd.h>

int main(void)
{
	return write(1, "started", 7) != 7;
}
