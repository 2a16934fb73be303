#!/usr/bin/env bash
# clients.sh URL PATH LOCAL film|noise: reads one file of a WebDAV server with every client here and compares it with LOCAL.
#   URL   the collection; PATH the file below it; players read it too where it is a film
#   DAV_USER, DAV_PASSWORD   the login
# A line of `ok` or `FAIL` for each client; exit status 1 if one failed. Needs root (mounts) and /dev/fuse.
set -uo pipefail
(($# == 4)) && [[ $4 == film || $4 == noise ]] || { sed -n '2,5p' "$0" >&2; exit 2; }
url=${1%/} path=$2 local=$3 what=$4
# shellcheck source=film.sh
. "$(dirname "${BASH_SOURCE[0]}")/film.sh"
: "${DAV_USER:?}" "${DAV_PASSWORD:?}"
tmp=$(mktemp -d)
chmod 755 "$tmp"
failed=0
# shellcheck disable=SC2317 # called by the trap
clean() {
    fusermount3 -uz "$tmp/fuse" 2>/dev/null
    umount -l "$tmp/davfs" 2>/dev/null
    [[ -z ${rclone_pid:-} ]] || kill "$rclone_pid" 2>/dev/null
    rm -rf "$tmp"
}
trap clean EXIT
mkdir "$tmp"/{fuse,davfs,got,cache}
chgrp davfs2 "$tmp/cache" && chmod 775 "$tmp/cache"

quoted=$(python3 -c 'import sys, urllib.parse; print(urllib.parse.quote(sys.argv[1]))' "$path")
file_url=$url/$quoted
host=$(sed 's,^[a-z]*://,,; s,[:/].*,,' <<<"$url")
printf 'machine %s login %s password %s\n' "$host" "$DAV_USER" "$DAV_PASSWORD" >"$tmp/.netrc"
printf '[dav]\ntype = webdav\nurl = %s\nuser = %s\npass = %s\n' "$url" "$DAV_USER" \
    "$(rclone obscure "$DAV_PASSWORD")" >"$tmp/rclone.conf"
chmod 600 "$tmp/.netrc" "$tmp/rclone.conf"
curl() { command curl -s -S --netrc-file "$tmp/.netrc" --max-time 120 "$@"; }
rclone() { command rclone --config "$tmp/rclone.conf" --retries 1 "$@"; }

size=$(stat -c %s "$local")
middle=$((size / 3))
end=$((middle + 99999))
bytes() { tail -c "+$(($1 + 1))" "$local" | head -c "$2"; } # OFFSET LENGTH of the original
bytes "$middle" 100000 >"$tmp/middle"

try() { # NAME COMMAND...
    local name=$1 start=${EPOCHREALTIME/./}
    shift
    if "$@" >"$tmp/out" 2>&1; then
        printf 'ok   %s (%d ms)\n' "$name" $(((${EPOCHREALTIME/./} - start) / 1000))
    else
        printf 'FAIL %s: %s\n' "$name" "$(tail -n 3 "$tmp/out" | tr '\n' ' ')"
        failed=1
    fi
}

whole() { curl -f -o "$tmp/got/curl" "$file_url" && cmp "$tmp/got/curl" "$local"; }
range() { curl -f -r "$middle-$end" "$file_url" | cmp - "$tmp/middle"; }
suffix() { curl -f -r "-1000" "$file_url" | cmp - <(tail -c 1000 "$local"); }
resumed() { # a download that was cut off goes on
    head -c "$middle" "$local" >"$tmp/got/resumed"
    curl -f -C - -o "$tmp/got/resumed" "$file_url" && cmp "$tmp/got/resumed" "$local"
}
several() { # multipart/byteranges, taken apart by Python's own mail parser
    curl -f -D "$tmp/head" -r "0-99,$middle-$end" -o "$tmp/got/several" "$file_url" || return 1
    python3 - "$tmp/head" "$tmp/got/several" "$local" "$middle" "$end" <<'PY'
import email.parser, email.policy, re, sys
head, body, local = (open(name, "rb").read() for name in sys.argv[1:4])
wanted = [(0, 99), (int(sys.argv[4]), int(sys.argv[5]))]
kind = re.search(rb"(?im)^content-type: *(multipart/byteranges.*?)\r?$", head)
assert kind, head
message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(b"Content-Type: " + kind[1] + b"\r\n\r\n" + body)
parts = list(message.iter_parts())
assert len(parts) == 2, len(parts)
for part, (first, last) in zip(parts, wanted):
    assert part["Content-Range"] == f"bytes {first}-{last}/{len(local)}", part["Content-Range"]
boundary = re.search(rb'boundary="?([^";]+)', kind[1])[1]
raw = [piece.split(b"\r\n\r\n", 1)[1][:-2] for piece in body.split(b"--" + boundary)[1:-1]]
assert raw == [local[first : last + 1] for first, last in wanted], "other bytes"
PY
}
conditional() { # a range only as long as the file is the same, else all of it; nothing where it is known already
    local tag
    tag=$(curl -f -I "$file_url" | tr -d '\r' | sed -n 's/^etag: *//Ip')
    [[ -n $tag ]] || { echo "no ETag"; return 1; }
    [[ $(curl -o "$tmp/got/if" -w '%{http_code}' -r 0-9 -H "If-Range: $tag" "$file_url") == 206 ]] || return 1
    [[ $(curl -o "$tmp/got/if" -w '%{http_code}' -r 0-9 -H 'If-Range: "other"' "$file_url") == 200 ]] || return 1
    cmp "$tmp/got/if" "$local" || return 1
    [[ $(curl -o /dev/null -w '%{http_code}' -H "If-None-Match: $tag" "$file_url") == 304 ]]
}
beyond() { [[ $(curl -o /dev/null -w '%{http_code}' -r "$size-" "$file_url") == 416 ]]; }
locked_out() { [[ $(command curl -s -o /dev/null -w '%{http_code}' "$file_url") == 401 ]]; }
copy() { rclone copyto "dav:$path" "$tmp/got/rclone" && cmp "$tmp/got/rclone" "$local"; }
piece() { rclone cat --offset "$middle" --count 100000 "dav:$path" | cmp - "$tmp/middle"; }
fuse() {
    rclone mount dav: "$tmp/fuse" --read-only --log-file "$tmp/rclone.log" &
    rclone_pid=$!
    for ((i = 0; i < 100; i++)); do
        mountpoint -q "$tmp/fuse" && break
        sleep 0.1
    done
    dd if="$tmp/fuse/$path" bs=1000 skip=$((middle / 1000)) count=100 status=none |
        cmp - <(bytes $((middle / 1000 * 1000)) 100000) && cmp "$tmp/fuse/$path" "$local"
    local status=$?
    ((status == 0)) || cat "$tmp/rclone.log"
    fusermount3 -u "$tmp/fuse"
    wait "$rclone_pid"
    rclone_pid=
    return $status
}
cadaver_get() {
    printf 'get "%s" %s\nquit\n' "$path" "$tmp/got/cadaver" | HOME=$tmp cadaver "$url/" && cmp "$tmp/got/cadaver" "$local"
}
davfs() {
    printf 'use_locks 0\ncache_dir %s\n' "$tmp/cache" >"$tmp/davfs.conf"
    printf '%s\n%s\n' "$DAV_USER" "$DAV_PASSWORD" | mount.davfs -o "ro,conf=$tmp/davfs.conf" "$url/" "$tmp/davfs" || return 1
    cmp "$tmp/davfs/$path" "$local"
    local status=$?
    umount "$tmp/davfs"
    return $status
}

with_login=${file_url/:\/\//:\/\/$DAV_USER:$DAV_PASSWORD@}
try 'curl: the whole file' whole
try 'curl: a range' range
try 'curl: a suffix range' suffix
try 'curl: several ranges at once' several
try 'curl: an interrupted download goes on' resumed
try 'curl: If-Range and If-None-Match' conditional
try 'curl: a range beyond the end is 416' beyond
try 'curl: without a login it is 401' locked_out
try 'rclone: copy' copy
try 'rclone: part of the file' piece
try 'rclone: mount (FUSE)' fuse
try 'cadaver: get' cadaver_get
try 'davfs2: mount' davfs
if [[ $what == film ]]; then
    try 'ffprobe: streams and length' film_probe "$with_login" "$local"
    try 'ffmpeg: frames after seeks' film_seeks "$with_login" "$local"
fi
exit $failed
