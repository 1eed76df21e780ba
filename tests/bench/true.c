/* SPDX-License-Identifier: Apache-2.0 */
/* The program that hookbench starts: as little of its own as a static program can have. */
int main(void)
{
	return 0;
}
