#!/usr/bin/env bash
# run.sh: the server against software that nobody here wrote. Needs Debian and root: it installs packages (setup.sh),
# starts INN, posts a corpus, imports it through the HTTP API, and reads it with real WebDAV clients.
#
#   ALTMOUNT_BIN   a built `altmount`; built in release mode where it is not given
#   REAL_WORK      folder for everything that is made (default: target/real)
#   SOAK_SECONDS   how long the soak lasts (default 180; 0 leaves it out, which is a FAIL)
#   REAL_KEEP=1    leaves the server, INN and their folders up until Enter is pressed
#
# A line of `ok` or `FAIL` for each check, and at the end 'N passed, N failed'.
set -uo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
# shellcheck source=film.sh
. "$here/film.sh"
work=${REAL_WORK:-$root/target/real}
mkdir -p "$work"
work=$(cd "$work" && pwd)
run=$work/run
rm -rf "$run"
mkdir -p "$run"
results=$run/results
: >"$results"
started=$SECONDS
# INN runs as another user and keeps a Unix socket: a short path that everybody can reach.
inn=$(mktemp -d /tmp/altmount-inn.XXXXXX)
second=$(mktemp -d /tmp/altmount-inn.XXXXXX)
server_pid='' web_pid=''

die() { echo "run: $*" >&2; exit 1; }
stop() { # PID NAME: ends it, at once if it does not heed
    [[ -n $1 ]] && kill "$1" 2>/dev/null || return 0
    for ((i = 0; i < 300; i++)); do
        kill -0 "$1" 2>/dev/null || { wait "$1" 2>/dev/null; return 0; }
        sleep 0.1
    done
    kill -9 "$1" 2>/dev/null
    wait "$1" 2>/dev/null
    echo "FAIL $2 did not end within 30 s of SIGTERM" | tee -a "$results"
}
# shellcheck disable=SC2317 # called by the trap
clean() {
    local status=$?
    [[ -z ${REAL_KEEP:-} ]] || { echo "run: $base is up, Enter ends it"; read -r; }
    stop "$server_pid" altmount
    stop "$web_pid" 'the web server'
    "$here/inn-down.sh" "$inn" >>"$run/inn.log" 2>&1
    cp -r "$inn/log" "$run/inn-log" 2>/dev/null
    # The second one is only there once its part began.
    [[ ! -s $second/etc/inn.conf ]] || "$here/inn-down.sh" "$second" >>"$run/inn.log" 2>&1
    rm -rf "$inn" "$second"
    exit $status
}
trap clean EXIT
trap 'exit 130' INT TERM

step() { printf '\n== %s (%d s)\n' "$1" $((SECONDS - started)); }
record() { tee -a "$results"; }
# shellcheck source=part.sh
. "$here/part.sh"
check() { # NAME COMMAND...: one check by exit status, with the end of its output where it fails
    local name=$1
    shift
    if "$@" >"$run/out" 2>&1; then
        echo "ok   $name" | record
    else
        printf 'FAIL %s: %s\n' "$name" "$(tail -n 6 "$run/out" | tr '\n' ' ')" | record
        cp "$run/out" "$run/failed-$(tr -c 'A-Za-z0-9\n' - <<<"$name").log"
        return 1
    fi
}

step 'tools'
"$here/setup.sh" "$work" || die 'the tools could not be installed'

step 'altmount'
if [[ -z ${ALTMOUNT_BIN:-} ]]; then
    (cd "$root" && cargo build --release --locked -p altmount -p altmount-newsd -p altmount-arrd -p altmount-tests \
        --bin altmount --bin altmount-newsd --bin altmount-arrd --bin altmount-soak) ||
        die 'altmount could not be built'
    ALTMOUNT_BIN=${CARGO_TARGET_DIR:-$root/target}/release/altmount
fi
[[ -x $ALTMOUNT_BIN ]] || die "there is no program at $ALTMOUNT_BIN"

mapfile -t ports < <(python3 - <<'PY'
import socket
held = [socket.create_server(("127.0.0.1", 0)) for _ in range(8)]
print(*(s.getsockname()[1] for s in held), sep="\n")
PY
)
export NNTP_PORT=${ports[0]} NNTPS_PORT=${ports[1]} INND_PORT=${ports[2]}
secret() { python3 -c 'import secrets; print(secrets.token_hex(12))'; }
NNTP_USER=reader NNTP_PASSWORD=$(secret) DAV_USER=viewer DAV_PASSWORD=$(secret)
export NNTP_USER NNTP_PASSWORD DAV_USER DAV_PASSWORD
export BASE=http://127.0.0.1:${ports[3]}
base=$BASE

step 'INN and the corpus'
chmod 755 "$inn"
"$here/inn-up.sh" "$inn" || die 'INN did not start'
python3 "$here/corpus.py" "$run/corpus" --port "$NNTP_PORT" --tls-port "$NNTPS_PORT" --user "$NNTP_USER" ||
    die 'the corpus could not be posted'

config() { # PORT TLS [PORT]: the server's configuration, with INN's plain or its TLS port, and the second INN's
    echo 'providers:' >"$run/config.yaml"
    local port
    for port in "$1" ${3:+"$3"}; do
        cat >>"$run/config.yaml" <<EOF
  - name: inn-$port
    host: 127.0.0.1
    port: $port
    tls: $2
    tls_insecure: $2
    username: $NNTP_USER
    password: $NNTP_PASSWORD
    max_connections: 8
EOF
    done
    cat >>"$run/config.yaml" <<EOF
webdav:
  user: $DAV_USER
  password: $DAV_PASSWORD
http_sources:
  allow_private: true
categories:
  - name: sabnzbd
log:
  level: info
EOF
    chmod 600 "$run/config.yaml"
}
altmount_up() {
    "$ALTMOUNT_BIN" --config "$run/config.yaml" --data-dir "$run/data" --listen "${base#http://}" \
        >>"$run/altmount.log" 2>&1 &
    server_pid=$!
    for ((i = 0; i < 200; i++)); do
        kill -0 "$server_pid" 2>/dev/null || { tail -20 "$run/altmount.log" >&2; die 'altmount ended'; }
        curl -sf -o /dev/null "$base/readyz" && break
        sleep 0.1
    done
    ((i < 200)) || { tail -20 "$run/altmount.log" >&2; die 'altmount is not ready after 20 s'; }
    API_KEY=$("$ALTMOUNT_BIN" key show --data-dir "$run/data") || die 'altmount shows no key'
    export API_KEY
}
printf '[dav]\ntype = webdav\nurl = %s/webdav\nuser = %s\npass = %s\n' "$base" "$DAV_USER" \
    "$(rclone obscure "$DAV_PASSWORD")" >"$run/rclone.conf"
rclone() { command rclone --config "$run/rclone.conf" --retries 1 "$@"; }
compare() { # NAME: the library against the originals, both ways
    rm -rf "$run/copy"
    check "$1: rclone copies the whole tree" rclone copy dav: "$run/copy"
    check "$1: the copy is the originals" rclone check "$run/expect" "$run/copy"
    check "$1: rclone reads the library as the originals" rclone check --download "$run/expect" dav:
}

step 'imports, from INN over TLS'
config "$NNTPS_PORT" true
check 'the configuration is valid' "$ALTMOUNT_BIN" config check --config "$run/config.yaml" --data-dir "$run/data"
altmount_up
part imports 26 python3 "$here/drive.py" import "$run/corpus" "$run/expect"

step 'reading'
compare 'TLS'
part 'WebDAV clients' 15 "$here/clients.sh" "$base/webdav" films/Feature.2026.360p/feature.mkv "$run/corpus/sources/feature.mkv" film
unicode() {
    "$here/clients.sh" "$base/webdav" 'Ünïcödé 東京/Ünïcödé – 東京 (1).mkv' "$run/corpus/sources/Ünïcödé – 東京 (1).mkv" noise |
        sed 's/^\(ok  \|FAIL\) /\1 unicode, /'
}
part 'WebDAV clients, unicode' 13 unicode

step 'a link to a web server'
command rclone serve http "$run/corpus/sources" --addr "127.0.0.1:${ports[4]}" >"$run/web.log" 2>&1 &
web_pid=$!
for ((i = 0; i < 100; i++)); do
    curl -sf -o /dev/null "http://127.0.0.1:${ports[4]}/" && break
    sleep 0.1
done
echo "http://127.0.0.1:${ports[4]}/large.bin" >"$run/Linked.strm"
linked() {
    "$ALTMOUNT_BIN" import "$run/Linked.strm" --config "$run/config.yaml" --data-dir "$run/data" --listen "${base#http://}" &&
        rclone copy dav:Linked "$run/linked" && cmp "$run/linked/"* "$run/corpus/sources/large.bin"
}
check 'a .strm file is read from its web server' linked

step 'an importer from nothing'
part 'plugin new' 6 "$here/plugin-new.sh" "$ALTMOUNT_BIN" "$root" "$work/plugin-new"

step 'changes over WebDAV'
part changes 8 "$here/changes.sh" "$base/webdav" Over.Tls over-tls.bin "$run/corpus/sources/over-tls.bin"

step 'the FUSE mount'
part 'the mount' 14 "$here/mount.sh" "$ALTMOUNT_BIN" "${NEWSD_BIN:-$(dirname "$ALTMOUNT_BIN")/altmount-newsd}"
part 'the mount, live' 13 "$here/live.sh" "$ALTMOUNT_BIN" "${NEWSD_BIN:-$(dirname "$ALTMOUNT_BIN")/altmount-newsd}"

step 'the cache on disk'
part 'the cache on disk' 5 "$here/cache.sh" "$ALTMOUNT_BIN" "${NEWSD_BIN:-$(dirname "$ALTMOUNT_BIN")/altmount-newsd}"

step 'the SABnzbd API'
part 'SABnzbd clients' 5 "$work/venv/bin/python" "$here/sab-clients.py" "$base/sabnzbd" "$API_KEY" \
    "$run/corpus/nzb/films/Feature.2026.360p.nzb" sabnzbd
rclone purge dav:sabnzbd >/dev/null 2>&1

step 'WebDAV conformance'
part litmus 5 "$here/litmus.sh" "$base/webdav/" "$run/litmus.log"
rclone purge dav:litmus >/dev/null 2>&1
rclone purge dav:Linked >/dev/null 2>&1

step 'restart, INN without TLS'
stop "$server_pid" altmount
check 'altmount ended in order' grep -q 'shutting down' "$run/altmount.log"
config "$NNTP_PORT" false
altmount_up
compare 'plain, after a restart'
taken=$(python3 -c 'import json, sys; print(next(r for r in json.load(open(sys.argv[1])) if r["name"] == "Taken.Down.Later")["ids"][1])' \
    "$run/corpus/manifest.json")
stop "$server_pid" altmount # and with it what it has in memory
check 'INN takes an article down' env INNCONF="$inn/etc/inn.conf" setpriv --reuid news --regid news --clear-groups \
    /usr/lib/news/bin/ctlinnd cancel "<$taken>"
altmount_up
part 'taken down' 1 python3 "$here/drive.py" takedown "$run/corpus"

step 'nothing is given out early'
stop "$server_pid" altmount
printf "cache:\n  early_delivery: 'off'\n" >>"$run/config.yaml"
altmount_up
part 'nothing early' 3 python3 "$here/drive.py" strict "$run/corpus"

step 'releases as they are posted, over TLS, one of them on two servers'
chmod 755 "$second"
NNTP_PORT=${ports[5]} NNTPS_PORT=${ports[6]} INND_PORT=${ports[7]} "$here/inn-up.sh" "$second" || die 'the second INN did not start'
"$work/venv/bin/python" "$here/releases/make.py" "$run/releases" --port "$NNTP_PORT" --second-port "${ports[5]}" --user "$NNTP_USER" ||
    die 'the releases could not be posted'
stop "$server_pid" altmount
config "$NNTPS_PORT" true "${ports[6]}"
altmount_up
part releases 188 python3 "$here/releases/drive.py" "$run/releases"
inspected() { # NAME TEXT...: `altmount inspect` tells each text of a release
    local name=$1
    shift
    "$ALTMOUNT_BIN" inspect "$run/releases/nzb/$name.nzb" --config "$run/config.yaml" --data-dir "$run/inspect" >"$run/inspected" || return 1
    local text
    for text in "$@"; do
        grep -qF -- "$text" "$run/inspected" || { echo "no '$text' in:"; cat "$run/inspected"; return 1; }
    done
}
check 'inspect: archives in archives, methods, name sources' inspected rar-nested 'clip.mp4' 'outer.part01.rar/inner.' '(stored)' 'named by path in'
check 'inspect: names by PAR2' inspected obf-plain-par2 'Real.Title.2026.mp4' 'named by par2'
check 'inspect: encryption' inspected 7z-enc '(stored, AES-256)'

step 'the same releases, with the NZB importer loaded from its library'
stop "$server_pid" altmount
# Cargo leaves it beside the dependencies of the program. The folder above must be nobody else's to write.
plugins=$(mktemp -d /tmp/altmount-plugins.XXXXXX)
chmod 755 "$plugins"
load() {
    install -m 644 "$(dirname "$ALTMOUNT_BIN")/deps/libaltmount_importer_nzb.so" "$plugins/nzb.so" || return 1
    "$ALTMOUNT_BIN" plugin hash "$plugins/nzb.so" >>"$run/config.yaml" && echo '      replaces: nzb' >>"$run/config.yaml"
}
check 'loaded: the library and its hash' load
altmount_up
in_use() { curl -sf "$base/api/plugins" -H "X-Api-Key: $API_KEY" | python3 -c '
import json, sys
nzb = [(p["state"], p["linked"]) for p in json.load(sys.stdin)["data"] if p["id"] == "nzb"]
assert sorted(nzb) == [("loaded", False), ("shadowed", True)], nzb'; }
check 'loaded: it is in use, verified, in the place of the linked one' in_use
loaded() { python3 "$here/releases/drive.py" "$run/releases" --ranges 2000 2>&1 | sed -E 's/^(ok  |FAIL) (release)/\1 loaded, \2/'; }
part 'loaded, releases' 188 loaded
stop "$server_pid" altmount
config "$NNTPS_PORT" true "${ports[6]}"
rm -rf "$plugins"

step 'releases through the FUSE mount'
mnt=$(mktemp -d /tmp/altmount-mnt.XXXXXX)
film=$mnt/rar5-store/feature.mkv
printf 'mount:\n  path: %s\n' "$mnt" >>"$run/config.yaml"
altmount_up
check 'fuse: cmp, a member of RAR volumes' cmp "$film" "$run/releases/media/feature.mkv"
check 'fuse: cmp, an encrypted member of a 7z' cmp "$mnt/7z-enc/clip.mp4" "$run/releases/media/clip.mp4"
check 'fuse: ffprobe, streams and length' film_probe "$film" "$run/releases/media/feature.mkv"
check 'fuse: ffmpeg, frames after seeks' film_seeks "$film" "$run/releases/media/feature.mkv"
seeks() { # the same bytes at 200 random places
    python3 - "$film" "$run/releases/media/feature.mkv" <<'PY'
import random, sys
with open(sys.argv[1], "rb") as mounted, open(sys.argv[2], "rb") as original:
    size = original.seek(0, 2)
    assert mounted.seek(0, 2) == size
    for _ in range(200):
        at, length = random.randrange(size), random.choice((1, 16, 4096, 131072, 1 << 20))
        mounted.seek(at), original.seek(at)
        assert mounted.read(length) == original.read(length), at
PY
}
check 'fuse: random reads' seeks

step 'outputs, as an *arr uses them'
stop "$server_pid" altmount
out=$run/outputs
cat >>"$run/config.yaml" <<EOF
outputs:
  categories: {links: [symlinks], players: [strm], copies: [copy]}
  symlinks: {path: $out/links}
  strm: {path: $out/strm, base_url: $base}
  copy: {path: $out/copies, min_free_bytes: 0}
categories:
$(printf '  - {name: %s}\n' plain links players copies tv movies music Readarr xxx whisparr prowlarr)
EOF
altmount_up
part outputs 58 python3 "$here/outputs.py" "$run/releases/nzb/rar5-store.nzb" "$run/releases/media/feature.mkv" "$mnt"
part arrd 158 "${ARRD_BIN:-$(dirname "$ALTMOUNT_BIN")/altmount-arrd}" "$base/sabnzbd" "$API_KEY" "$run/releases/nzb/rar5-store.nzb" \
    "$run/releases/media/feature.mkv" "$mnt/library" "$out/library"
rm -rf "$out/library"
rebuilt() {
    "$ALTMOUNT_BIN" outputs rebuild --config "$run/config.yaml" --data-dir "$run/data" --listen "${base#http://}" |
        grep -q ' 0 blocked'
}
check 'outputs: a rebuild has nothing in its way' rebuilt
stop "$server_pid" altmount
unmounted() { ! grep -q " $mnt " /proc/self/mountinfo && rmdir "$mnt"; }
check 'fuse: the end unmounts' unmounted
sed -i '/^mount:/,$d' "$run/config.yaml"
altmount_up

step 'NZBGet beside us, from the same INN'
part nzbget 2 "$here/nzbget.sh" "$ALTMOUNT_BIN" "$run/nzbget"

step 'readers over a bad provider'
if [[ ${SOAK_SECONDS:-180} == 0 ]]; then
    echo 'FAIL soak: left out by SOAK_SECONDS=0' | record
else
    part soak 24 "${SOAK_BIN:-$(dirname "$ALTMOUNT_BIN")/altmount-soak}" --server "$ALTMOUNT_BIN" --seconds "${SOAK_SECONDS:-180}"
fi

step 'the API against its own description'
schema() {
    # Event streams do not end, so they are left to the tests in Rust. Without the check ignored_auth: it puts a wrong
    # key beside the right one of the other kind, and one right key is enough. One worker: Python 3.11 may fail with
    # 'AST constructor recursion depth mismatch' where two threads of the tool parse at once (CPython issue 106905).
    cd "$run" && "$work/venv/bin/schemathesis" run "$base/api/openapi.json" --header "X-Api-Key: $API_KEY" \
        --exclude-path /api/queue/events --max-examples 60 --seed 1 --workers 1 --request-timeout 30 \
        --phases examples,coverage,fuzzing,stateful --no-color \
        --checks not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,response_schema_conformance,negative_data_rejection,missing_required_header,unsupported_method
}
check 'schemathesis: no 5xx, nothing outside of the schema' schema
check 'altmount is still up' curl -sf -o /dev/null "$base/readyz"
unexpected() { ! grep -nE 'panicked|RUST_BACKTRACE' "$run/altmount.log"; }
check 'nothing panicked' unexpected
secrets() { ! grep -nF -e "$API_KEY" -e "$NNTP_PASSWORD" -e "$DAV_PASSWORD" "$run/altmount.log"; }
check 'no secret is in the log' secrets

step 'done'
passed=$(grep -c '^ok ' "$results") failed=$(grep -c '^FAIL ' "$results")
grep '^FAIL ' "$results"
# Every check above has written its line: a part says itself what it lacks, and this is all of it.
if ((passed + failed < 758)); then
    echo "FAIL only $((passed + failed)) checks ran"
    failed=$((failed + 1))
fi
printf 'real: %d passed, %d failed\n' "$passed" "$failed"
((failed == 0))
