/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Mappings: which files may become executable memory, by the rules of exec. So a loader that is
 * started by hand, LD_PRELOAD and dlopen give no more than exec does.
 *
 *   mmap_file      a new mapping, the kernel's own of a program and its loader included
 *   file_mprotect  a mapping that becomes executable later
 *
 * Memory without a file is not judged: just-in-time compilers need it.
 */

/* Unrolled: a library's memcmp does not exist here. */
#define SAME_TEXT(found, text) ({ \
	bool same_ = true; \
	_Pragma("clang loop unroll(full)") \
	for (int i_ = 0; i_ < sizeof(text); i_++) \
		same_ = same_ && (found)[i_] == (text)[i_]; \
	same_; })

/* Memory that is shared or huge, and anonymous all the same: mm/shmem.c, fs/hugetlbfs. */
static ALWAYS_INLINE bool is_anonymous(struct file *file)
{
	u64 dentry = (u64)file->f_path.dentry;
	char name[16] = {};

	if (read_word(dentry + __builtin_offsetof(struct dentry, d_parent)) != dentry)
		return false;
	bpf_probe_read_kernel(name, sizeof(name) - 1, (void *)read_word(
			      dentry + __builtin_offsetof(struct dentry, d_name.name)));
	return SAME_TEXT(name, "dev/zero") || SAME_TEXT(name, "anon_hugepage");
}

static ALWAYS_INLINE int judge_mapping(struct file *file)
{
	struct exec_scratch *scratch;
	struct subject s;

	if ((file->f_inode->i_mode & S_IFMT) != S_IFREG)
		return 0;
	if (!subject_of_current(&s) || s.flags & TAG_ENTERING)
		return 0;
	if (!s.reason && s.ruleset &&
	    (s.ruleset->any[SECTION_EXEC] | s.ruleset->mappings_any) & s.grants)
		return 0;
	scratch = scratch_of(bpf_get_current_task_btf());
	if (!scratch)
		return deny_blindly(&s, KIND_MAPPING);
	/* Judged a moment ago; nobody else has a file that the kernel opened to start it. */
	if (file->f_flags & FMODE_EXEC && scratch->program == (u64)file)
		return 0;
	if (!file->f_inode->i_nlink && is_anonymous(file))
		return 0;
	return judge_file(&s, file, KIND_MAPPING, scratch);
}

int mapping_mmap_file(u64 *ctx)
{
	struct file *file;

#ifdef ATTACH_LSM
	if (!(ctx[2] & PROT_EXEC))
		return 0;
#else
	/* security_mmap_file() adds to what was asked for: mmap_prot() in security/security.c. */
	if (!(ctx[1] & PROT_EXEC) &&
	    !(ctx[1] & PROT_READ &&
	      bpf_get_current_task_btf()->personality & READ_IMPLIES_EXEC))
		return 0;
#endif
	file = (struct file *)ctx[0];
	if (!GIVEN(ctx, 0) || !file)
		return 0;
	return judge_mapping(file);
}

int mapping_file_mprotect(u64 *ctx)
{
	struct vm_area_struct *area = (struct vm_area_struct *)ctx[0];
	struct file *file = area->vm_file;

	if (!(ctx[2] & PROT_EXEC) || area->vm_flags & VM_EXEC || !file)
		return 0;
	return judge_mapping(file);
}
