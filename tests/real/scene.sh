# shellcheck shell=bash disable=SC2154 # set by who sources it
# scene.sh: sourced by the scripts that start a server and a news server by themselves. A folder that goes at the end, two free ports, a
# configuration with the news server, and a line of `ok` or `FAIL` for each try.
# Before: `altmount` and `newsd` are set, `places`, folders of the scene that may be mounted at the end, and `tenths`, how long is waited for a thing.
tmp=$(mktemp -d) failed=0 server= news=
# shellcheck disable=SC2317 # called by the trap
clean() {
    local place
    [[ -z $server ]] || kill -9 "$server" 2>/dev/null
    [[ -z $news ]] || kill "$news" 2>/dev/null
    for place in $places; do umount -l "$tmp/$place" 2>/dev/null; done
    rm -rf "$tmp"
}
trap clean EXIT
cd "$tmp" || exit 1
port=$((20000 + RANDOM % 10000))
export ALTMOUNT_LISTEN=127.0.0.1:$((port + 1)) ALTMOUNT_DATA_DIR=$tmp/data ALTMOUNT_CONFIG=$tmp/config.yaml
printf 'providers: [{host: 127.0.0.1, port: %s, tls: false, max_connections: 4}]\n' "$port" >config.yaml
mkdir data

wait_for() { for ((i = 0; i < tenths; i++)); do "$@" >/dev/null 2>&1 && return; sleep 0.1; done; return 1; }
try() { # NAME COMMAND...
    local name=$1
    shift
    if "$@"; then echo "ok    $name"; else echo "FAIL  $name"; failed=1; fi
}
