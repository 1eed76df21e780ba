/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A workload's home: the namespaces and the root folder that it was started with. What it
 * makes for itself later (unshare, a container inside) is told from that.
 *
 * Taken when the first program of the workload starts, and never changed: whoever sets a
 * workload up has moved into its namespaces by then.
 */
static ALWAYS_INLINE void take_home(u64 workload, struct task_struct *task)
{
	struct home home = {};

	if (LOOKUP(homes, &workload))
		return;
	home.mount_namespace = task->nsproxy->mnt_ns->ns.inum;
	home.user_namespace = task->cred->user_ns->ns.inum;
	home.network_namespace = task->nsproxy->net_ns->ns.inum;
	home.root_mount = (u64)task->fs->root.mnt;
	home.root_dentry = (u64)task->fs->root.dentry;
	home.sealed = bpf_ktime_get_boot_ns();
	/* A task that is ending has none any more. */
	if (home.mount_namespace)
		bpf_map_update_elem(MAP(homes), &workload, &home, BPF_NOEXIST);
}
