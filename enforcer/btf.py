# SPDX-License-Identifier: Apache-2.0
"""Kernel structs from the running kernel's BTF, as C text for the programs in bpf/.

Only the fields that the programs read, each at its place on this kernel: fields moved and
were renamed between versions, and no kernel headers are needed this way.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator

from enforcer.libbpf import library

KIND_STRUCT = 4
KIND_UNION = 5

# struct -> fields in C, those that others hold first. `struct cgroup` begins with what the
# programs take it for (checked below).
STRUCTS: dict[str, tuple[str, ...]] = {
    "path": ("struct vfsmount *mnt", "struct dentry *dentry"),
    "ns_common": ("unsigned int inum",),
    "user_namespace": ("struct ns_common ns",),
    "cred": ("struct user_namespace *user_ns", "struct capabilities cap_effective"),
    "mnt_namespace": ("struct ns_common ns",),
    "vfsmount": ("struct dentry *mnt_root", "struct super_block *mnt_sb", "int mnt_flags"),
    "mount": (
        "struct mount *mnt_parent",
        "struct dentry *mnt_mountpoint",
        "struct vfsmount mnt",
        "struct mnt_namespace *mnt_ns",
        "int mnt_group_id",
    ),
    "hlist_bl_node": ("void *next", "void **pprev"),
    "qstr": ("u64 hash_len", "const unsigned char *name"),
    "dentry": (
        "struct hlist_bl_node d_hash",
        "struct dentry *d_parent",
        "struct qstr d_name",
        "struct inode *d_inode",
        "struct super_block *d_sb",
    ),
    "net": ("struct ns_common ns", "u64 net_cookie"),
    "nsproxy": ("struct mnt_namespace *mnt_ns", "struct net *net_ns"),
    "fs_struct": ("struct path root",),
    "kernfs_node": ("u64 id", "const char *name"),
    "cgroup_root": ("int hierarchy_id",),
    "cgroup": ("struct kernfs_node *kn", "struct cgroup_root *root"),
    "css_set": ("struct cgroup *dfl_cgrp",),
    "task_struct": (
        "u64 start_boottime",
        "unsigned int personality",
        "int pid",
        "int tgid",
        "struct task_struct *group_leader",
        "struct task_struct *real_parent",
        "struct css_set *cgroups",
        "struct cred *cred",
        "struct nsproxy *nsproxy",
        "struct fs_struct *fs",
        "struct files_struct *files",
        "void *bpf_storage",
    ),
    "sock_cgroup_data": ("struct cgroup *cgroup",),
    "sock": (
        "u16 skc_family",
        "struct net *skc_net",
        "u16 sk_type",
        "u16 sk_protocol",
        "struct sock_cgroup_data sk_cgrp_data",
    ),
    "unix_address": ("int len", "char name[0]"),
    "unix_sock": ("struct unix_address *addr", "struct sock *peer"),
    "socket": ("struct sock *sk",),
    "block_device": (),
    "super_block": (
        "dev_t s_dev",
        "unsigned long s_magic",
        "struct block_device *s_bdev",
        "struct user_namespace *s_user_ns",
    ),
    "inode": (
        "umode_t i_mode",
        "struct super_block *i_sb",
        "unsigned long i_ino",
        "unsigned int i_nlink",
        "dev_t i_rdev",
    ),
    "pid": (),
    "proc_inode": ("struct pid *pid", "struct inode vfs_inode"),
    "file": (
        "struct path f_path",
        "struct inode *f_inode",
        "unsigned int f_flags",
        "unsigned int f_mode",
        "void *private_data",
    ),
    "fdtable": ("unsigned int max_fds", "struct file **fd", "unsigned long *close_on_exec"),
    "files_struct": ("struct fdtable *fdt",),
    "vm_area_struct": ("unsigned long vm_flags", "struct file *vm_file"),
    "linux_binprm": ("struct file *file",),
    "bpf_iter_meta": ("struct seq_file *seq",),
}

# Offsets of what kernels have in different places: name -> ways to it, the newest kernel's first;
# each a path of (struct, field) whose offsets add up.
PLACES: dict[str, tuple[tuple[tuple[str, str], ...], ...]] = {
    # A number for each mount namespace that is never given out again.
    "MOUNT_NAMESPACE_ID": (
        (("mnt_namespace", "ns"), ("ns_common", "ns_id")),
        (("mnt_namespace", "seq"),),
    ),
    # The mounts of a file system: a list, later a chain of pointers to the mounts themselves.
    "SUPER_BLOCK_MOUNTS": ((("super_block", "s_mounts"),),),
    "INODE_CHANGED": (
        (("inode", "i_ctime_sec"),),
        (("inode", "__i_ctime"),),
        (("inode", "i_ctime"),),
    ),
    "INODE_CHANGED_NANOSECONDS": (
        (("inode", "i_ctime_nsec"),),
        (("inode", "__i_ctime"), ("timespec64", "tv_nsec")),
        (("inode", "i_ctime"), ("timespec64", "tv_nsec")),
    ),
    "MOUNT_NEXT": ((("mount", "mnt_next_for_sb"),), (("mount", "mnt_instance"),)),
}


class KernelTypes:
    """The running kernel's types. Raises OSError if the kernel has no BTF."""

    def __init__(self) -> None:
        self._lib = library()
        self._btf = self._lib.btf__load_vmlinux_btf()
        if not self._btf:
            raise OSError("/sys/kernel/btf/vmlinux: this kernel has no BTF")

    def close(self) -> None:
        """Free the copy of the kernel's BTF (several MiB)."""
        self._lib.btf__free(self._btf)

    def has(self, name: str, kind: int) -> bool:
        """Whether the kernel has a type or function of this name and BTF kind."""
        return bool(self._lib.btf__find_by_name_kind(self._btf, name.encode(), kind) > 0)

    def _words(self, type_id: int) -> ctypes.Array[ctypes.c_uint32]:
        return (ctypes.c_uint32 * 3).from_address(self._lib.btf__type_by_id(self._btf, type_id))

    def _members(self, type_id: int) -> Iterator[tuple[str, int, int]]:
        """(name, type id, byte offset) of each member."""
        address = self._lib.btf__type_by_id(self._btf, type_id)
        info = self._words(type_id)[1]
        for index in range(info & 0xFFFF):
            member = (ctypes.c_uint32 * 3).from_address(address + 12 + 12 * index)
            bits = member[2] & 0xFFFFFF if info >> 31 else member[2]
            name = self._lib.btf__name_by_offset(self._btf, member[0]) or b""
            yield name.decode(), member[1], bits // 8

    def _find(self, type_id: int, field: str, base: int, depth: int) -> tuple[int, int] | None:
        inner: list[tuple[int, int]] = []
        for name, member_type, offset in self._members(type_id):
            if name == field:
                return base + offset, self._lib.btf__resolve_size(self._btf, member_type)
            kind = (self._words(member_type)[1] >> 24) & 0x1F
            # anonymous members, and the one named part that sock keeps its first fields in
            if kind in (KIND_STRUCT, KIND_UNION) and (not name or name == "__sk_common"):
                inner.append((member_type, base + offset))
        for member_type, offset in inner:
            if depth and (found := self._find(member_type, field, offset, depth - 1)):
                return found
        return None

    def size(self, struct: str) -> int:
        """Bytes of a struct."""
        type_id = self._lib.btf__find_by_name_kind(self._btf, struct.encode(), KIND_STRUCT)
        return int(self._lib.btf__resolve_size(self._btf, type_id))

    def field(self, struct: str, field: str) -> tuple[int, int]:
        """(offset, size) in bytes of a field, looked for in anonymous members too."""
        type_id = self._lib.btf__find_by_name_kind(self._btf, struct.encode(), KIND_STRUCT)
        found = self._find(type_id, field, 0, 4) if type_id > 0 else None
        if found is None:
            raise LookupError(f"this kernel's BTF has no struct {struct} with a field {field}")
        return found

    def has_field(self, struct: str, field: str) -> bool:
        """Whether the struct has such a field."""
        try:
            self.field(struct, field)
        except LookupError:
            return False
        return True

    def place(self, name: str) -> int:
        """The offset that PLACES calls `name`. LookupError where no way leads to it here."""
        ways = PLACES[name]
        way = next((way for way in ways if all(self.has_field(*step) for step in way)), ways[-1])
        return sum(self.field(*step)[0] for step in way)

    def declare(self, struct: str, fields: tuple[str, ...]) -> str:
        """C text of a struct with just `fields`, each where this kernel has it, and its size."""
        position = 0
        parts: list[str] = []
        places = sorted((self.field(struct, _name(text)), text) for text in fields)
        for (offset, size), text in places:
            if offset > position:
                parts.append(f"char pad_{offset}[{offset - position}];")
            parts.append(f"{text};")
            position = offset + size
        if (whole := self.size(struct)) > position:
            parts.append(f"char pad_end[{whole - position}];")
        return f"struct {struct} {{ {' '.join(parts)} }};"


def _name(field: str) -> str:
    return field.split()[-1].lstrip("*").removesuffix("[0]")


def kernel_header() -> str:
    """The structs of STRUCTS for the running kernel, as C."""
    types = KernelTypes()
    try:
        if types.field("cgroup", "self")[0] != 0:
            raise LookupError("struct cgroup no longer begins with its cgroup_subsys_state")
        parent, _ = types.field("cgroup_subsys_state", "parent")
        cgroup = types.declare("cgroup", STRUCTS["cgroup"])
        first = types.field("cgroup", "kn")[0]
        if parent + 8 > first:
            raise LookupError("struct cgroup_subsys_state overlaps cgroup.kn")
        # The parent's cgroup_subsys_state is the first member of the parent's cgroup.
        cgroup = cgroup.replace(
            f"char pad_{first}[{first}];",
            f"char pad_0[{parent}]; struct cgroup *parent; char pad_{first}[{first - parent - 8}];",
            1,
        )
        lines = [
            "struct seq_file; struct sockaddr; struct vfsmount; struct dentry; struct mount;",
            # Two words: before 6.3 it was so, and lies where a u64 would not.
            "struct capabilities { u32 low; u32 high; };",
        ]
        for struct, fields in STRUCTS.items():
            lines.append(cgroup if struct == "cgroup" else types.declare(struct, fields))
        lines += [f"#define {name} {types.place(name)}" for name in PLACES]
        if types.has("backing_file", KIND_STRUCT):
            distance = types.field("backing_file", "user_path")[0]
            distance -= types.field("backing_file", "file")[0]
            lines.append(f"#define BACKING_FILE_PATH {distance}")
        # What the chain points to: in a list, the member that links.
        chained = types.has_field("mount", "mnt_next_for_sb")
        lines.append(f"#define MOUNT_LINK {0 if chained else types.place('MOUNT_NEXT')}")
        return "\n".join(lines) + "\n"
    finally:
        types.close()
