#!/usr/bin/env bash
# nzbget.sh ALTMOUNT DIR: NZBGet and we read the same file from the same INN, one after the other, the order turned.
#   NNTP_PORT, NNTPS_PORT, NNTP_USER, NNTP_PASSWORD   the news server; it gets a file of NZBGET_MIB (default 300)
# A line of `ok` or `FAIL` for the bytes, and a table with the rates. The clock decides nothing unless we are at less than half of
# NZBGet's rate: a busy machine moves both. NZBGET_STRICT=1 wants our rate to be no less than its.
set -uo pipefail
(($# == 2)) || { sed -n '2,6p' "$0" >&2; exit 2; }
: "${NNTP_PORT:?}" "${NNTPS_PORT:?}" "${NNTP_USER:?}" "${NNTP_PASSWORD:?}"
altmount=$1 dir=$2
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
mib=${NZBGET_MIB:-300} connections=8 rounds=2 failed=0 server=''
rm -rf "$dir"
mkdir -p "$dir"
# shellcheck disable=SC2317 # called by the trap
clean() {
    [[ -z $server ]] || kill "$server" 2>/dev/null
    rm -rf "$dir"
}
trap clean EXIT
say() { # VERDICT TEXT
    printf "%-4s nzbget: %s\n" "$1" "$2"
    [[ $1 != FAIL ]] || failed=1
}
now() { echo "${EPOCHREALTIME/./}"; }

size=$((mib << 20))
head -c "$size" /dev/urandom >"$dir/film.mkv"
python3 "$here/post.py" --port "$NNTP_PORT" --user "$NNTP_USER" --nzb "$dir/film.nzb" "$dir/film.mkv" >/dev/null ||
    { say FAIL 'the file could not be posted'; exit 1; }
listen=127.0.0.1:$(python3 -c 'import socket; print(socket.create_server(("127.0.0.1", 0)).getsockname()[1])')

theirs() { # TLS: microseconds from the start of the program until the whole file is there
    rm -rf "$dir/nzbget"
    mkdir -p "$dir/nzbget"
    local encryption=no port=$NNTP_PORT start
    [[ $1 == plain ]] || { encryption=yes port=$NNTPS_PORT; }
    start=$(now)
    timeout 300 nzbget -n -o MainDir="$dir/nzbget" -o DestDir="$dir/nzbget/done" -o InterDir="$dir/nzbget/part" -o QueueDir="$dir/nzbget/queue" \
        -o TempDir="$dir/nzbget/tmp" -o NzbDir="$dir/nzbget/nzb" -o ScriptDir="$dir/nzbget/scripts" -o LogFile= -o WriteLog=none -o LockFile= -o ConfigTemplate=/usr/share/nzbget/webui/nzbget.conf -o WebDir= \
        -o OutputMode=log -o ParCheck=manual -o Unpack=no -o DirectUnpack=no -o ArticleCache=100 -o WriteBuffer=1024 -o CrcCheck=yes \
        -o Server1.Active=yes -o Server1.Host=127.0.0.1 -o Server1.Port="$port" -o Server1.Username="$NNTP_USER" \
        -o Server1.Password="$NNTP_PASSWORD" -o Server1.Encryption=$encryption -o Server1.Connections=$connections -o CertCheck=no \
        "$dir/film.nzb" >"$dir/nzbget.log" 2>&1 &
    local pid=$! file=
    for ((i = 0; i < 30000; i++)); do
        file=$(find "$dir/nzbget/done" -type f -size "${size}c" 2>/dev/null | head -n 1)
        [[ -z $file ]] || break
        kill -0 "$pid" 2>/dev/null || { file=$(find "$dir/nzbget/done" -type f -size "${size}c" | head -n 1); break; }
        sleep 0.01
    done
    echo $(($(now) - start))
    wait "$pid"
    [[ -n $file ]] && cmp "$file" "$dir/film.mkv" >>"$dir/nzbget.log"
}
ours() { # TLS: microseconds for the whole file over HTTP, from a server that has nothing of it in memory
    local tls=false port=$NNTP_PORT start key url
    [[ $1 == plain ]] || { tls=true port=$NNTPS_PORT; }
    cat >"$dir/config.yaml" <<YAML
providers:
  - {name: inn, host: 127.0.0.1, port: $port, tls: $tls, tls_insecure: $tls, username: $NNTP_USER, password: $NNTP_PASSWORD, max_connections: $connections}
log:
  level: error
YAML
    chmod 600 "$dir/config.yaml"
    rm -rf "$dir/data/cache"
    "$altmount" --config "$dir/config.yaml" --data-dir "$dir/data" --listen "$listen" >>"$dir/altmount.log" 2>&1 &
    server=$!
    for ((i = 0; i < 300; i++)); do
        curl -sf -o /dev/null "http://$listen/readyz" && break
        sleep 0.1
    done
    key=$("$altmount" key show --data-dir "$dir/data")
    # The import, once.
    [[ -e $dir/imported ]] || "$altmount" import "$dir/film.nzb" --config "$dir/config.yaml" --data-dir "$dir/data" --listen "$listen" \
        >>"$dir/altmount.log" 2>&1 || return 1
    if [[ ! -e $dir/imported ]]; then
        touch "$dir/imported"
        kill "$server"
        wait "$server"
        ours "$1"
        return
    fi
    url=http://$listen/webdav/film/film.mkv
    start=$(now)
    curl -sf -u "altmount:$(<"$dir/data/webdav.password")" -o "$dir/ours" "$url"
    echo $(($(now) - start))
    kill "$server"
    wait "$server"
    server=''
    cmp -s "$dir/ours" "$dir/film.mkv"
}

median() { printf '%s\n' "$@" | sort -n | sed -n "$((($# + 1) / 2))p"; }
rate() { awk -v us="$1" -v mib="$mib" 'BEGIN { printf "%.0f", mib * 1e6 / us }'; }
for kind in plain TLS; do
    they=() we=()
    for ((round = 0; round < rounds; round++)); do
        for turn in 0 1; do
            if (((turn + round) % 2)); then
                time=$(theirs $kind) || say FAIL "$kind: NZBGet has other bytes: $(tail -n 3 "$dir/nzbget.log" | tr '\n' ' ')"
                they+=("$time")
            else
                time=$(ours $kind) || say FAIL "$kind: our bytes are other ones: $(tail -n 3 "$dir/altmount.log" | tr '\n' ' ')"
                we+=("$time")
            fi
        done
    done
    a=$(median "${we[@]}") b=$(median "${they[@]}")
    ratio=$(awk -v a="$a" -v b="$b" 'BEGIN { printf "%.2f", b / a }')
    verdict=ok
    awk -v r="$ratio" -v least="$([[ -n ${NZBGET_STRICT:-} ]] && echo 1.0 || echo 0.5)" 'BEGIN { exit !(r < least) }' && verdict=FAIL
    say "$verdict" "$kind: $mib MiB on $connections connections: $(rate "$a") MiB/s, NZBGet $(rate "$b") MiB/s, ratio $ratio"
done
exit $failed
