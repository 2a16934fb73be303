#!/usr/bin/env bash
# live.sh ALTMOUNT NEWSD: what a running server does with a kernel: the mount and the outputs change with the configuration, readers of the
# mount are listed, the trash gives back what was removed there, a watch folder's mount goes and comes back.
# A line of `ok` or `FAIL` for each; exit status 1 if one failed. Needs root, /dev/fuse and fuse3; takes half a minute.
set -uo pipefail
(($# == 2)) || { sed -n '2,4p' "$0" >&2; exit 2; }
altmount=$1 newsd=$2
# shellcheck disable=SC2034 # for the scene
places='one two watched' tenths=100
# shellcheck source=scene.sh
. "$(dirname "${BASH_SOURCE[0]}")/scene.sh"
mkdir one two full watched store
touch full/somebodys

api() { curl -s -H "X-Api-Key: $(<data/api.key)" -H 'Content-Type: application/json' "$@"; }
url=http://$ALTMOUNT_LISTEN/api
set_keys() { api -f -X PUT "$url/settings" -d "{\"set\": $1}" >answer; }
says() { grep -q -- "$1" answer || { cat answer; return 1; }; }

"$newsd" --listen "127.0.0.1:$port" --release film:30M --release show:5M --release last:1M --nzb-dir "$tmp" >newsd.log 2>&1 &
news=$!
wait_for test -s last.nzb || { cat newsd.log; exit 1; }
"$altmount" serve >>server.log 2>&1 &
server=$!
wait_for curl -sf "http://$ALTMOUNT_LISTEN/readyz" || { cat server.log; exit 1; }
timeout 60 "$altmount" import film.nzb >/dev/null || exit 1

made() { set_keys "{\"mount.path\": \"$tmp/one\"}" && says '"restart_needed":false' && mountpoint -q one && [[ -f one/film/film.mkv ]]; }
# The folder has somebody's file in it; there is none at the other place.
refused() {
    local before=$(<config.yaml)
    ! set_keys "{\"mount.path\": \"$tmp/full\"}" && [[ $(<config.yaml) == "$before" ]] &&
        ! set_keys '{"mount.path": "/proc/none"}' && [[ $(<config.yaml) == "$before" ]] &&
        mountpoint -q one && ! mountpoint -q full && [[ -f one/film/film.mkv ]]
}
# With a file open that is read on, and another place at once.
moved() {
    local wanted status
    wanted=$(tail -c 1000000 one/film/film.mkv | sha256sum)
    exec 8<one/film/film.mkv
    head -c 1000 <&8 >/dev/null
    set_keys "{\"mount.path\": \"$tmp/two\"}" && says 'one file is open there' && mountpoint -q two && ! mountpoint -q one &&
        [[ -z $(ls one) && $(tail -c 1000000 <&8 | sha256sum) == "$wanted" && $(tail -c 1000000 two/film/film.mkv | sha256sum) == "$wanted" ]]
    status=$?
    exec 8<&-
    return $status
}
# The same place again, while a process sits in it; what it opened is read on.
again() {
    local status
    exec 8<two/film/film.mkv
    set_keys '{"mount.cache_seconds": 7, "mount.allow_other": true}' && says '"restart_needed":false' && mountpoint -q two &&
        grep -q "$tmp/two .*allow_other" /proc/mounts && [[ $(grep -c "$tmp/two " /proc/mounts) == 1 && -f two/film/film.mkv ]] &&
        [[ $(head -c 1000 <&8 | wc -c) == 1000 ]]
    status=$?
    exec 8<&-
    return $status
}
by_hand() { umount two && ! mountpoint -q two && kill -HUP "$server" && wait_for test -f two/film/film.mkv && mountpoint -q two; }
linked() {
    set_keys "{\"outputs.default\": [\"symlinks\"], \"outputs.symlinks.path\": \"$tmp/links\"}" && says '"restart_needed":false' &&
        timeout 60 "$altmount" import show.nzb >/dev/null && wait_for test -L links/show/show.mkv &&
        [[ $(readlink links/show/show.mkv) == "$tmp"/two/.ids/* ]] && cmp links/show/show.mkv two/show/show.mkv
}
# A process that reads a mebibyte at a time, again and again, until it was seen.
listed() {
    local reader status id
    id=$(stat -c %i two/film/film.mkv)
    python3 -c '
import time
with open("two/film/film.mkv", "rb", buffering=0) as film:
    while True:
        if not film.read(1 << 20):
            film.seek(0)
        time.sleep(0.1)
' &
    reader=$!
    wait_for sh -c "curl -s -H 'X-Api-Key: $(<data/api.key)' $url/streams >answer && grep -q '\"rate\":[1-9]' answer"
    python3 - "$id" "$reader" <<'P'
import json, sys
streams = [s for s in json.load(open("answer"))["data"] if s["via"] == "mount"]
assert len(streams) == 1, streams
stream = streams[0]
assert stream["file_id"] == int(sys.argv[1]) and stream["name"] == "film.mkv" and stream["client"] is None, stream
assert stream["agent"] == f"python3 (process {sys.argv[2]})", stream
# Ten pieces of a mebibyte a second at most, whatever else the machine does.
assert stream["sent"] > 0 and 0 < stream["rate"] <= 11 << 20, stream
P
    status=$?
    kill "$reader"
    wait "$reader" 2>/dev/null
    wait_for sh -c "! curl -s -H 'X-Api-Key: $(<data/api.key)' $url/streams | grep -q '\"mount\"'" || status=1
    api "http://$ALTMOUNT_LISTEN/metrics" >answer
    says 'altmount_read_gap_seconds_count{via="mount"} [1-9]' && return $status
}
restore() { api -f -X POST "$url/trash/$1/restore" >/dev/null; }
trashed() {
    local id
    id=$(stat -c %i two/show/show.mkv) && sha256sum <two/show/show.mkv >whole && rm -r two/show &&
        wait_for test ! -L links/show/show.mkv && [[ ! -e two/show ]] &&
        restore "$id" && wait_for test -f two/show/show.mkv && [[ $(stat -c %i two/show/show.mkv) == "$id" ]] &&
        sha256sum <two/show/show.mkv | cmp - whole && wait_for test -L links/show/show.mkv && sha256sum <links/show/show.mkv | cmp - whole
}
# What the kernel knows is gone as soon as somebody else deletes it, and there again.
outside() {
    local id
    id=$(stat -c %i two/show/show.mkv) && api -f -X DELETE "$url/files/$id" >/dev/null && wait_for test ! -e two/show/show.mkv &&
        restore "$id" && wait_for test -f two/show/show.mkv && sha256sum <two/show/show.mkv | cmp - whole
}
overwritten() {
    local id
    id=$(stat -c %i two/show/show.mkv) && mv two/film/film.mkv two/show/show.mkv && [[ $(stat -c %i two/show/show.mkv) != "$id" ]] &&
        restore "$id" && wait_for test -f "two/show/show (2).mkv" && sha256sum <"two/show/show (2).mkv" | cmp - whole
}
jobs() { api "$url/queue" | python3 -c 'import json, sys; print(json.load(sys.stdin)["meta"]["total"])'; }
watched() {
    local before
    mount --bind store watched || return
    set_keys "{\"watch.folders\": [{\"path\": \"$tmp/watched\", \"after\": \"keep\", \"settle_seconds\": 0, \"poll_seconds\": 1}]}" || return
    cp last.nzb watched/ && wait_for test -f two/last/last.mkv || return
    before=$(jobs)
    umount watched && sleep 2 && mount --bind store watched && sleep 2.5 || return
    # Looked through anew, and nothing taken twice; then what is new.
    [[ $(jobs) == "$before" && $(grep -c 'is another one than before' server.log) == 2 ]] || return
    printf 'no nzb' >watched/broken.nzb
    wait_for sh -c "curl -s -H 'X-Api-Key: $(<data/api.key)' '$url/queue?state=failed' | grep -q broken.nzb"
}
taken_away() {
    api -f -X PUT "$url/settings" -d '{"unset": ["mount.path"], "set": {"outputs.library_path": "/nowhere"}}' >answer && ! mountpoint -q two &&
        [[ -z $(ls two) ]]
}
# What was left with a file open ends with the server.
ended() {
    set_keys "{\"mount.path\": \"$tmp/one\"}" || return
    exec 8<one/show/show.mkv
    set_keys "{\"mount.path\": \"$tmp/two\"}" || return
    kill -TERM "$server"
    wait "$server"
    local status=$?
    server=
    ! head -c 1 <&8 2>/dev/null | grep -q .
    local silent=$?
    exec 8<&-
    ((status == 0 && silent == 0)) && ! mountpoint -q one && ! mountpoint -q two
}

try 'a mount is made while the server runs' made
try 'a place that cannot be had changes nothing' refused
try 'another place, with a file open in the old one' moved
try 'other options at the same place' again
try 'unmounted by hand, and made again by SIGHUP' by_hand
try 'links for the next release' linked
try 'who reads the mount is listed' listed
try 'rm -r in the mount, and back with its links' trashed
try 'deleted and restored outside' outside
try 'overwritten by a rename, and back' overwritten
try 'a watch folder that is unmounted and mounted again' watched
try 'the mount is taken away' taken_away
try 'the end, with a place left that has a file open' ended
((failed == 0)) || cat server.log
exit $failed
