#!/usr/bin/env bash
# mount.sh ALTMOUNT NEWSD: the FUSE mount with a kernel: reads, names, changes from outside, a death, a take-over, an end.
# A line of `ok` or `FAIL` for each; exit status 1 if one failed. Needs root, /dev/fuse and fuse3; takes half a minute.
set -uo pipefail
(($# == 2)) || { sed -n '2,3p' "$0" >&2; exit 2; }
altmount=$1 newsd=$2
# shellcheck disable=SC2034 # for the scene
places='mnt' tenths=100
# shellcheck source=scene.sh
. "$(dirname "${BASH_SOURCE[0]}")/scene.sh"

start() {
    "$altmount" mount "$tmp/mnt" >>server.log 2>&1 &
    server=$!
    wait_for command curl -sf "http://$ALTMOUNT_LISTEN/readyz" && mountpoint -q mnt
}
dav() { curl -sf -u "altmount:$(<data/webdav.password)" "$@"; }
url=http://$ALTMOUNT_LISTEN/webdav

"$newsd" --listen "127.0.0.1:$port" --release film:30M --nzb-dir "$tmp" >newsd.log 2>&1 &
news=$!
wait_for test -s film.nzb || { cat newsd.log; exit 1; }

import() { start && timeout 60 "$altmount" import film.nzb && [[ -f mnt/film/film.mkv ]]; }
# Four hundred reads that wait for a news server which says nothing: more than are worked on at once.
names_come_first() {
    timeout 60 python3 - "$news" <<'P'
import os, signal, sys, threading, time
news = int(sys.argv[1])
film = os.open("mnt/film/film.mkv", os.O_RDONLY)
def read(at):
    try:
        os.pread(film, 1000, at)
    except OSError:
        pass
os.kill(news, signal.SIGSTOP)
readers = [threading.Thread(target=read, args=(2_000_000 + 60_000 * n,)) for n in range(400)]
try:
    for reader in readers:
        reader.start()
    time.sleep(1)
    waiting = sum(reader.is_alive() for reader in readers)
    assert waiting > 300, f"{waiting} wait"
    signal.alarm(4)
    assert os.listdir("mnt/film") == ["film.mkv"] and os.stat("mnt/.ids").st_mode
    os.close(os.open("mnt/film/film.mkv", os.O_RDONLY))
    signal.alarm(0)
    assert sum(reader.is_alive() for reader in readers) > 300
finally:
    os.kill(news, signal.SIGCONT)
for reader in readers:
    reader.join()
P
}
whole() { dav "$url/film/film.mkv" -o whole && timeout 60 cmp whole mnt/film/film.mkv; }
pieces() {
    local at
    for at in 29999999 7 12345678 31457000; do
        cmp <(timeout 20 tail -c +$at mnt/film/film.mkv | head -c 70000) <(tail -c +$at whole | head -c 70000) || return
    done
}
mapped() {
    timeout 20 python3 - <<'P'
import mmap
with open("mnt/film/film.mkv", "rb") as there, open("whole", "rb") as here:
    there, here = (mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ) for f in (there, here))
    assert there[20_000_000:20_100_000] == here[20_000_000:20_100_000] and there[-10:] == here[-10:]
P
}
by_id() { inode=$(stat -c %i mnt/film/film.mkv) && cmp "mnt/.ids/$inode" whole; }
linked() {
    [[ $(readlink mnt/.links/film/film.mkv) == "$tmp/mnt/.ids/$inode" && $(ls mnt/.links) == film ]] &&
        cmp mnt/.links/film/film.mkv whole && ! rm -f mnt/.links/film/film.mkv 2>/dev/null && [[ ! -e mnt/.links/.links ]]
}
renamed() { mv mnt/film/film.mkv mnt/film/b.mkv && [[ $(ls mnt/film) == b.mkv && $(stat -c %i mnt/film/b.mkv) == "$inode" ]]; }
# What the kernel knows for a minute is gone as soon as somebody else changes it.
outside() {
    stat mnt/film/b.mkv mnt/.links/film/b.mkv >/dev/null &&
        dav -X MOVE -H 'Destination: /webdav/film/c.mkv' "$url/film/b.mkv" &&
        wait_for test ! -e mnt/film/b.mkv && wait_for test ! -L mnt/.links/film/b.mkv && [[ $(stat -c %i mnt/film/c.mkv) == "$inode" ]]
}
refused() { ! rmdir mnt/film 2>/dev/null && ! touch mnt/film/x 2>/dev/null && ! truncate -s 0 mnt/film/c.mkv 2>/dev/null && cmp mnt/film/c.mkv whole; }
taken_over() {
    kill -9 "$server"
    wait "$server" 2>/dev/null
    ! ls mnt 2>/dev/null && start && [[ $(stat -c %i mnt/film/c.mkv) == "$inode" ]] && cmp mnt/film/c.mkv whole
}
only_once() { ! timeout 20 "$altmount" --data-dir "$tmp/other" mount "$tmp/mnt" --listen 127.0.0.1:0 >/dev/null 2>&1 && mountpoint -q mnt; }
# With a file open, and a read that waits for a news server that says nothing.
ended() {
    exec 9<mnt/film/c.mkv
    kill -STOP "$news"
    dd if=mnt/film/c.mkv of=/dev/null bs=1M iflag=direct 2>/dev/null &
    local reader=$! status
    kill -TERM "$server"
    wait "$server"
    status=$?
    server=
    wait "$reader"
    kill -CONT "$news"
    ! head -c 1 <&9 2>/dev/null | grep -q .
    local silent=$?
    exec 9<&-
    ((status == 0 && silent == 0)) && ! mountpoint -q mnt && [[ -z $(ls mnt) ]]
}
removed() { start && rm -r mnt/film && ! dav "$url/film/" >/dev/null && [[ -z $(ls mnt) ]]; }

try 'an import is there at once' import
try 'names do not wait behind reads' names_come_first
try 'the whole file, as over WebDAV' whole
try 'pieces of it' pieces
try 'a memory map of it' mapped
try 'the file by its id' by_id
try 'links to it in .links' linked
try 'a rename keeps the inode' renamed
try 'a change over WebDAV is seen' outside
try 'nothing is written, and no full folder removed' refused
try 'a server that was killed is taken over from' taken_over
try 'a second server is refused' only_once
try 'the end, with a file open and a read under way' ended
try 'rm -r' removed
((failed == 0)) || cat server.log
exit $failed
