#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Installs Lictor from this source tree: `make install` calls it as root.
#
#   install.sh            all of it
#   install.sh venv       only the Python environment
#   install.sh uninstall  removes what was installed; policies' state stays
#
# DESTDIR puts everything below another root; the environment is then left
# out, because a venv knows its own path.
set -euo pipefail

source_tree=$(cd "$(dirname "$0")/.." && pwd)
destdir=${DESTDIR:-}
prefix=$destdir/opt/lictor
venv=$prefix/venv
units=$destdir/usr/lib/systemd/system
launcher=$destdir/usr/local/bin/lictor
lock=$source_tree/controlplane/requirements.lock
python=/usr/bin/python3

say() { printf 'install: %s\n' "$*" >&2; }

# A venv made from the same lock by the same Python is left as it is, so that
# a second install needs neither time nor a network.
install_venv() {
    local stamp wanted
    stamp=$venv/lock-hash
    wanted="$(sha256sum <"$lock" | cut -d' ' -f1) $("$python" -V)"
    if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ]; then
        return
    fi
    say "Python packages into $venv"
    rm -rf "$venv"
    # bcc is the distribution's, so the venv has to see its packages.
    "$python" -m venv --system-site-packages "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check --no-deps \
        --require-hashes --requirement "$lock"
    # bcc's caller and the daemons import enforcer and controlplane from here.
    "$venv/bin/python" - <<'PYTHON'
import pathlib
import sysconfig

packages = pathlib.Path(sysconfig.get_path("purelib"))
(packages / "lictor.pth").write_text("/opt/lictor\n")
PYTHON
    printf '%s\n' "$wanted" >"$stamp"
}

install_files() {
    local folder unit
    for folder in bpf enforcer controlplane policies; do
        rm -rf "${prefix:?}/$folder"
        if [ -d "$source_tree/$folder" ]; then
            mkdir -p "$prefix/$folder"
            tar --directory="$source_tree/$folder" --exclude=__pycache__ \
                --owner=0 --group=0 --mode=u=rwX,go=rX --create . |
                tar --directory="$prefix/$folder" --extract --same-permissions
        fi
    done
    "$python" -m compileall -q -s "$destdir" "$prefix/enforcer" \
        $([ ! -d "$prefix/controlplane" ] || echo "$prefix/controlplane")

    install -D -m 755 /dev/stdin "$launcher" <<'LAUNCHER'
#!/opt/lictor/venv/bin/python -I
# SPDX-License-Identifier: Apache-2.0
import sys

from enforcer.cli.main import main

sys.exit(main())
LAUNCHER

    for unit in "$source_tree"/enforcer/systemd/*.service \
        "$source_tree"/controlplane/systemd/*.service; do
        [ ! -f "$unit" ] || install -D -m 644 "$unit" "$units/${unit##*/}"
    done
}

reload_systemd() {
    if [ -z "$destdir" ] && [ -d /run/systemd/system ]; then
        systemctl daemon-reload
    fi
}

if [ -z "$destdir" ] && [ "$(id -u)" != 0 ]; then
    say "/opt/lictor: only root may write there"
    exit 1
fi
case ${1:-all} in
venv) install_venv ;;
all)
    [ -n "$destdir" ] || install_venv
    install_files
    reload_systemd
    say "done: $launcher"
    ;;
uninstall)
    rm -rf "$prefix" "$launcher" "$units"/lictor-*.service
    reload_systemd
    ;;
*)
    say "$1: not one of: venv, all, uninstall"
    exit 2
    ;;
esac
