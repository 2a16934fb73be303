#!/usr/bin/env bash
# run.sh: the page in Debian's Chromium, against a real INN and a film that ffmpeg made. Debian, root; installs what it needs.
#
#   ALTMOUNT_BIN   a built `altmount` (default: target/release/altmount)
#   WEB_WORK       folder for everything that is made; screenshots are in WEB_WORK/shots (default: target/web)
set -uo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
work=${WEB_WORK:-$root/target/web}
mkdir -p "$work/shots"
work=$(cd "$work" && pwd)
ALTMOUNT_BIN=${ALTMOUNT_BIN:-${CARGO_TARGET_DIR:-$root/target}/release/altmount}
die() { echo "web: $*" >&2; exit 1; }
[[ -x $ALTMOUNT_BIN ]] || die "there is no program at $ALTMOUNT_BIN"

missing=()
for package in chromium nodejs npm ffmpeg curl; do
    command -v "${package/nodejs/node}" >/dev/null || missing+=("$package")
done
if ((${#missing[@]})); then
    apt-get -qq update && apt-get -q -y install --no-install-recommends "${missing[@]}" >"$work/apt.log" 2>&1 || die 'packages could not be installed'
fi
# The drivers' browsers are not fetched: Debian's is used.
mkdir -p "$work/node"
cp "$here/package.json" "$here/run.mjs" "$work/node/"
if [[ ! -d $work/node/node_modules/playwright-core || ! -d $work/node/node_modules/axe-core ]]; then
    (cd "$work/node" && PLAYWRIGHT_SKIP_BROWSER_DOWNLOAD=1 npm install --no-audit --no-fund --silent) || die 'npm install failed'
fi

run=$work/run
rm -rf "$run"
mkdir -p "$run"
inn=$(mktemp -d /tmp/altmount-inn.XXXXXX)
server=
# shellcheck disable=SC2317 # called by the trap
clean() {
    local status=$?
    [[ -z $server ]] || { kill "$server" 2>/dev/null; wait "$server" 2>/dev/null; }
    "$root/tests/real/inn-down.sh" "$inn" >>"$run/inn.log" 2>&1
    rm -rf "$inn"
    exit $status
}
trap clean EXIT
trap 'exit 130' INT TERM

mapfile -t ports < <(python3 - <<'PY'
import socket
held = [socket.create_server(("127.0.0.1", 0)) for _ in range(4)]
print(*(s.getsockname()[1] for s in held), sep="\n")
PY
)
export NNTP_PORT=${ports[0]} NNTPS_PORT=${ports[1]} INND_PORT=${ports[2]} NNTP_USER=web NNTP_PASSWORD=w3b-s3cret
"$root/tests/real/inn-up.sh" "$inn" >"$run/inn.log" 2>&1 || die "INN did not start: $(tail -3 "$run/inn.log")"

ffmpeg -v error -y -f lavfi -i testsrc2=size=320x180:rate=24:duration=20 -f lavfi -i sine=frequency=330:duration=20 \
    -c:v libvpx -b:v 1M -g 24 -c:a libopus -b:a 64k "$run/film.webm" || die 'ffmpeg made no film'
python3 "$root/tests/real/post.py" --port "$NNTP_PORT" --user "$NNTP_USER" --nzb "$run/Film.2026.nzb" "$run/film.webm" || die 'nothing was posted'

data=$run/data
"$ALTMOUNT_BIN" serve --data-dir "$data" --listen "127.0.0.1:${ports[3]}" >"$run/altmount.log" 2>&1 &
server=$!
export BASE=http://127.0.0.1:${ports[3]}
for ((i = 0; i < 300; i++)); do
    curl -fs "$BASE/readyz" >/dev/null && break
    kill -0 "$server" 2>/dev/null || die "altmount ended: $(tail -3 "$run/altmount.log")"
    sleep 0.1
done
API_KEY=$("$ALTMOUNT_BIN" --data-dir "$data" key show)
export API_KEY CONFIG=$data/config.yaml NZB=$run/Film.2026.nzb FILM=$run/film.webm OUT=$run/out SHOTS=$work/shots
(cd "$work/node" && timeout 600 node run.mjs)
status=$?
# No secret that was typed on the page is in the log.
for secret in "$NNTP_PASSWORD" 'correct horse' "$API_KEY"; do
    if grep -qF -- "$secret" "$run/altmount.log"; then
        echo 'FAIL a secret is in the log'
        status=1
    fi
done
exit $status
