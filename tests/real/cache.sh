#!/usr/bin/env bash
# cache.sh ALTMOUNT NEWSD: the cache on disk over the death of the server: killed while it writes, started again, with files
# cut off and changed meanwhile, and on a disk that is full. A line of `ok` or `FAIL` for each; exit status 1 if one failed.
# Needs curl, and root for the small disk; takes half a minute.
set -uo pipefail
(($# == 2)) || { sed -n '2,4p' "$0" >&2; exit 2; }
altmount=$1 newsd=$2
# shellcheck disable=SC2034 # for the scene
places='small' tenths=200
# shellcheck source=scene.sh
. "$(dirname "${BASH_SOURCE[0]}")/scene.sh"
mkdir small
configure() { # FOLDER
    printf 'providers: [{host: 127.0.0.1, port: %s, tls: false, max_connections: 4}]\ncache: {memory_bytes: 0, disk_bytes: 1073741824, disk_folder: %s, disk_timeout_ms: 5000}\n' \
        "$port" "$1" >config.yaml
}
start() {
    "$altmount" serve >>server.log 2>&1 &
    server=$!
    wait_for curl -sf "http://$ALTMOUNT_LISTEN/readyz"
}
stop() { kill "-$1" "$server"; wait "$server" 2>/dev/null; server=; return 0; }
dav() { curl -sf -u "altmount:$(<data/webdav.password)" "http://$ALTMOUNT_LISTEN/webdav/film/film.mkv" "$@"; }
disk() { # FIELD
    curl -sf "http://$ALTMOUNT_LISTEN/api/health/summary?apikey=$(<data/api.key)" |
        python3 -c 'import json, sys; print(json.load(sys.stdin)["data"]["cache"]["disk"][sys.argv[1]])' "$1"
}
at_least() { (($(disk "$1") >= $2)); }

configure "$tmp/cache"
"$newsd" --listen "127.0.0.1:$port" --release film:60M --nzb-dir "$tmp" >newsd.log 2>&1 &
news=$!
wait_for test -s film.nzb || { cat newsd.log; exit 1; }

first() { start && timeout 60 "$altmount" import film.nzb >/dev/null && dav -o whole && wait_for at_least written 40 && at_least pinned_bytes 1; }
# Emptied, so that it writes while it is read; killed in the middle of that, five times.
killed() {
    stop KILL
    rm -rf cache/articles
    local round
    for round in 1 2 3 4 5; do
        start || return
        dav -o /dev/null --limit-rate 40M &
        local reader=$!
        sleep "0.$((round * 2))"
        stop KILL
        wait "$reader" 2>/dev/null
    done
    start && dav | cmp - whole && at_least hits 1 && (($(disk damaged) == 0))
}
from_disk() { wait_for at_least entries 80; stop TERM; kill -STOP "$news"; start && dav | cmp - whole; local same=$?; kill -CONT "$news"; ((same == 0)); }
damaged() {
    stop KILL
    local files
    mapfile -t files < <(find cache/articles -type f | sort | head -4)
    truncate -s 1000 "${files[0]}"
    : >"${files[1]}"
    printf 'X' | dd of="${files[2]}" bs=1 seek=300000 conv=notrunc status=none
    cp "${files[3]}" "${files[2]%/*}/00000000000000000000000000000000"
    start && dav | cmp - whole && (($(disk damaged) == 3))
}
full() {
    stop TERM
    mount -t tmpfs -o size=12m tmpfs small || return
    configure "$tmp/small"
    start && dav | cmp - whole && wait_for at_least errors 1 && dav | cmp - whole && (($(disk bytes) <= 12 << 20))
}

try 'what was read is on disk, the ends of the film pinned' first
try 'killed while it writes, it has whole articles or none' killed
try 'all of it without the news server' from_disk
try 'what was cut off or changed is fetched again' damaged
try 'a full disk stops no read' full
((failed == 0)) || cat server.log
exit $failed
