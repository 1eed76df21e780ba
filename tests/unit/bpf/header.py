# SPDX-License-Identifier: Apache-2.0
"""What a C header declares, by name; and what a C compiler makes of those names."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

Facts = dict[str, str]
"""What is known of each name, as text: `tag.cgroup` -> `at 0, 8 bytes, u64`."""

_INTEGERS = ("u8", "u16", "u32", "u64", "s8", "s16", "s32", "s64")
_TYPES = """\
#include <stddef.h>
#include <stdio.h>
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef signed char s8;
typedef short s16;
typedef int s32;
typedef long long s64;
"""


@dataclass
class Header:
    """Names in the order of the file. members: dotted, those of unnamed parts included."""

    defines: list[str] = field(default_factory=list)
    enums: dict[str, list[str]] = field(default_factory=dict)
    structs: dict[str, list[str]] = field(default_factory=dict)


def read_header(text: str) -> Header:
    """Every #define with a value, enum member and struct member. Fails on what it cannot read."""
    header = Header(defines=re.findall(r"^#define (\w+)[ \t]+\S", text, re.MULTILINE))
    code = re.sub(r"/\*.*?\*/", " ", text, flags=re.DOTALL)
    code = re.sub(r"^#.*$", " ", code, flags=re.MULTILINE)
    tokens = re.findall(r"\w+|[^\w\s]", code)
    while tokens:
        kind, name, brace = tokens.pop(0), tokens.pop(0), tokens.pop(0)
        assert brace == "{", f"cannot read {kind} {name} {brace}"
        if kind == "enum":
            header.enums[name] = _enum_members(tokens)
        else:
            assert kind == "struct", f"cannot read {kind} {name}"
            header.structs[name] = _struct_members(tokens)
        assert tokens.pop(0) == ";"
    return header


def _enum_members(tokens: list[str]) -> list[str]:
    body = tokens[: tokens.index("}")]
    del tokens[: len(body) + 1]
    return [token for token in body if re.fullmatch("[A-Z]\\w*", token)]


def _struct_members(tokens: list[str]) -> list[str]:
    """Takes the members and the closing brace off `tokens`."""
    members: list[str] = []
    while (token := tokens.pop(0)) != "}":
        inner: list[str] = []
        words = [token]
        while (token := tokens.pop(0)) != ";":
            if token == "{":
                inner = _struct_members(tokens)
            else:
                words.append(token)
        declared = " ".join(words).partition(" [")[0].split()
        named = len(declared) > 1
        members += [declared[-1]] if named else []
        members += [f"{declared[-1]}.{name}" if named else name for name in inner]
    return members


def compiled_facts(path: Path, header: Header, folder: Path) -> Facts:
    """What gcc says of every name: a program that prints it is compiled and run."""
    lines = [f'printf("{name}\\t%lld\\n", (long long)({name}));' for name in header.defines]
    for members in header.enums.values():
        lines += [f'printf("{name}\\t%lld\\n", (long long){name});' for name in members]
    for struct, members in header.structs.items():
        lines.append(f'printf("struct {struct}\\t%zu bytes\\n", sizeof(struct {struct}));')
        lines += [f'SHOW({struct}, {name}, "{struct}.{name}");' for name in members]
    kinds = [f'{name}: "{name}", {name} *: "{name}[]"' for name in _INTEGERS]
    kinds.append('char *: "char[]", default: "struct"')
    show = (
        "#define MEMBER(s, m) (((struct s *)0)->m)\n"
        "#define SHOW(s, m, name) printf(name "
        '"\\tat %zu, %zu bytes, %s\\n", offsetof(struct s, m), sizeof(MEMBER(s, m)), '
        f"_Generic(MEMBER(s, m), {', '.join(kinds)}))\n"
    )
    source = folder / "facts.c"
    body = "\n\t".join(lines)
    source.write_text(f'{_TYPES}#include "{path}"\n{show}int main(void)\n{{\n\t{body}\n}}\n')
    program = folder / "facts"
    command = ["gcc", "-std=gnu11", "-Wall", "-Wextra", "-Werror", "-o", str(program), str(source)]
    compiler = subprocess.run(command, capture_output=True, text=True, check=False)
    assert compiler.returncode == 0, compiler.stderr
    output = subprocess.run([program], capture_output=True, text=True, check=True).stdout
    return dict(line.split("\t") for line in output.splitlines())
