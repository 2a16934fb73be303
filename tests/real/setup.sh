#!/usr/bin/env bash
# setup.sh [WORK]: installs what the real suite uses. Debian 12 or later, as root; starts no service.
#   WORK  folder of the suite's Python environment (default: target/real of the checkout)
# A second call with everything in place asks neither Debian nor PyPI for anything.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
work=${1:-$here/../../target/real}
mkdir -p "$work"
work=$(cd "$work" && pwd)

packages=(rclone litmus cadaver davfs2 fuse3 ffmpeg nzbget par2 p7zip-full zip genisoimage curl python3 python3-venv openssl perl procps util-linux)
schemathesis=4.32.5
rars=0.12.3
pysabnzbd=1.1.1
aiosabnzbd=0.2.0

missing=()
for package in inn2 "${packages[@]}"; do
    [[ $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) == installed ]] || missing+=("$package")
done

if ((${#missing[@]})); then
    [[ $(id -u) == 0 ]] || { echo "setup: run as root, or install: ${missing[*]}" >&2; exit 1; }
    tmp=$(mktemp -d)
    guard=
    trap 'rm -rf "$tmp"; [[ -z $guard ]] || rm -f "$guard"' EXIT
    # A package's post-install script starts its service unless this file says no (invoke-rc.d, policy-rc.d).
    if [[ ! -e /usr/sbin/policy-rc.d ]]; then
        guard=/usr/sbin/policy-rc.d
        printf '#!/bin/sh\nexit 101\n' >"$guard"
        chmod 755 "$guard"
    fi
    export DEBIAN_FRONTEND=noninteractive
    get() {
        # A lock held by another apt is waited for; a failure shows why.
        apt-get -q -y -o DPkg::Lock::Timeout=300 install --no-install-recommends "$@" >"$tmp/apt.log" 2>&1 ||
            { tail -30 "$tmp/apt.log" >&2; exit 1; }
    }
    apt-get -qq -o DPkg::Lock::Timeout=300 update
    for package in "${missing[@]}"; do
        [[ $package == inn2 ]] || continue
        # inn2 refuses to configure itself where the host name has no domain. Its tools read the file that INNCONF
        # names, so a copy with a domain does it, and /etc stays as the package made it.
        get inn2-inews msmtp-mta
        sed 's/^#*domain:.*/domain: altmount.test/' /etc/news/inn.conf >"$tmp/inn.conf"
        INNCONF=$tmp/inn.conf get inn2
    done
    get "${missing[@]}"
fi

if [[ ! -x $work/venv/bin/schemathesis ]] || ! "$work/venv/bin/python" -c 'import rars, pysabnzbd, aiosabnzbd' 2>/dev/null; then
    python3 -m venv "$work/venv"
    "$work/venv/bin/pip" -q install --disable-pip-version-check "schemathesis==$schemathesis" "rars==$rars" \
        "pysabnzbd==$pysabnzbd" "aiosabnzbd==$aiosabnzbd"
fi
echo "setup: the suite's tools are in place ($work)"
