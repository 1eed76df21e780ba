/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Devices: which character and block devices may be opened, by number and never by name.
 * file_open runs for every open on the host, so whatever is read and no device leaves it first.
 */
static ALWAYS_INLINE struct device_verdict *device_rule(u32 ruleset, u32 block, u32 major,
							u32 minor)
{
	struct device_key key = {
		.ruleset = ruleset, .block = block, .major = major, .minor = minor,
	};

	return LOOKUP(devices, &key);
}

/* The exact minor and the whole major both count: grants of the two add up. */
static ALWAYS_INLINE void judge_device(struct subject *s, u32 block, u32 major, u32 minor,
				       struct verdict *verdict)
{
	struct device_verdict *found;

	if (denied_outright(s, verdict) || any_allowed(s, SECTION_DEVICES, verdict))
		return;
	verdict->reason = REASON_NOT_ALLOWED;
	found = device_rule(s->ruleset_id, block, major, minor);
	if (!found || !(found->allow & s->grants))
		found = device_rule(s->ruleset_id, block, major, ANY_MINOR);
	if (!found || !(found->allow & s->grants))
		return;
	verdict->decision = DECISION_ALLOWED;
	verdict->reason = REASON_RULE;
	verdict->rule = found->allow & s->grants & GRANT_BASE ? found->base_rule
							      : found->grant_rule;
}

static ALWAYS_INLINE int use_device(struct subject *s, bool block, u32 number)
{
	struct verdict verdict;
	int result;

	judge_device(s, block, number >> 20, number & 0xfffff, &verdict);
	result = conclude(s, &verdict);
	struct event event = {};
	fill_head(&event, KIND_DEVICE, s, &verdict);
	fill_process(&event);
	event.device.block = block;
	event.device.major = number >> 20;
	event.device.minor = number & 0xfffff;
	emit(&event, sizeof(event), true);
	return result;
}

/* Character and block devices differ in one bit of their type, and no other type is so. */
#define DEVICE_TYPE(mode) (((mode) & (S_IFMT & ~(S_IFCHR ^ S_IFBLK))) == S_IFCHR)

/* What leaves first is on every open of the host: each instruction before that counts. */
int device_file_open(u64 *ctx)
{
	struct file *file = (struct file *)ctx[0];
	struct inode *inode = file->f_inode;
	struct subject s;

	if (!DEVICE_TYPE(inode->i_mode)) {
		if (!(file->f_mode & FMODE_WRITE))
			return 0;
		return guard_write(file, inode);
	}
	if (!subject_of_current(&s))
		return 0;
	/* Read again: kept, it would cost the early leavers a register. */
	return use_device(&s, (*(volatile umode_t *)&inode->i_mode & S_IFMT) == S_IFBLK,
			  inode->i_rdev);
}
