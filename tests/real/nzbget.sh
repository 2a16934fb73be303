#!/usr/bin/env bash
# nzbget.sh ALTMOUNT DIR: NZBGet and we read the same file from the same INN, one after the other, the order turned.
#   NNTP_PORT, NNTPS_PORT, NNTP_USER, NNTP_PASSWORD   the news server; it gets a file of NZBGET_MIB (default 1000)
# A line of `ok` or `FAIL` for plain and for TLS, with all rates: the median of three rounds each, without the start, which is what a
# file of a thousand bytes takes: of NZBGet the program's own and its end too, of both the first connection. What we send to a reader that
# keeps nothing is to be 1.0 of NZBGet's rate. Beside it stands what curl makes of it that writes a file, as NZBGet does; most of its time
# is the kernel's for the new file, and differs by twice on some machines. There we fail below 0.9, or 1.0 with NZBGET_STRICT=1.
# Both are judged by a second comparison where the first is not enough: other work on the machine moves them, and NZBGet ends in steps of
# 0.15 s, a tenth of what it takes; a small file says nothing.
set -uo pipefail
(($# == 2)) || { sed -n '2,9p' "$0" >&2; exit 2; }
: "${NNTP_PORT:?}" "${NNTPS_PORT:?}" "${NNTP_USER:?}" "${NNTP_PASSWORD:?}"
altmount=$1 dir=$2
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
mib=${NZBGET_MIB:-1000} connections=8 rounds=3 failed=0 server='' least=0.9
[[ -z ${NZBGET_STRICT:-} ]] || least=1.0
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
exec {never}<> <(:)
pause() { read -rt 0.005 -u "$never" || true; }
# What was written before is on the disk, and no file has to be emptied first: neither is paid for in the next measurement.
clear_away() {
    rm -rf "$dir/nzbget" "$dir/ours"
    sync
}
last() { tail -n 3 "$dir/$1.log" | tr '\n' ' '; }

head -c "$((mib << 20))" /dev/urandom >"$dir/film.mkv"
head -c 1000 /dev/urandom >"$dir/tiny.mkv"
for name in film tiny; do
    python3 "$here/post.py" --port "$NNTP_PORT" --user "$NNTP_USER" --nzb "$dir/$name.nzb" "$dir/$name.mkv" >/dev/null ||
        { say FAIL "$name.mkv could not be posted"; exit 1; }
done
listen=127.0.0.1:$(python3 -c 'import socket; print(socket.create_server(("127.0.0.1", 0)).getsockname()[1])')

theirs() { # KIND NAME: microseconds from the start of the program until the whole file is there
    local name=$2 encryption=no port=$NNTP_PORT start
    clear_away
    mkdir -p "$dir/nzbget"
    [[ $1 == plain ]] || { encryption=yes port=$NNTPS_PORT; }
    start=$(now)
    timeout 300 nzbget -n -o MainDir="$dir/nzbget" -o DestDir="$dir/nzbget/done" -o InterDir="$dir/nzbget/part" -o QueueDir="$dir/nzbget/queue" \
        -o TempDir="$dir/nzbget/tmp" -o NzbDir="$dir/nzbget/nzb" -o ScriptDir="$dir/nzbget/scripts" -o LogFile= -o WriteLog=none -o LockFile= -o ConfigTemplate=/usr/share/nzbget/webui/nzbget.conf -o WebDir= \
        -o OutputMode=log -o ParCheck=manual -o Unpack=no -o DirectUnpack=no -o ArticleCache=100 -o WriteBuffer=1024 -o CrcCheck=yes \
        -o Server1.Active=yes -o Server1.Host=127.0.0.1 -o Server1.Port="$port" -o Server1.Username="$NNTP_USER" \
        -o Server1.Password="$NNTP_PASSWORD" -o Server1.Encryption=$encryption -o Server1.Connections=$connections -o CertCheck=no \
        "$dir/$name.nzb" >"$dir/nzbget.log" 2>&1 &
    local pid=$! file=$dir/nzbget/done/$name/$name.mkv
    # It is moved there when it is whole. Nothing is started to look for it: that would take its processor time.
    until [[ -e $file ]] || ! kill -0 "$pid" 2>/dev/null; do pause; done
    echo $(($(now) - start))
    wait "$pid"
    cmp "$file" "$dir/$name.mkv" >>"$dir/nzbget.log" 2>&1
}
ours() { # KIND NAME [FILE]: microseconds for the whole file over HTTP, from a server that has nothing of it in memory; into FILE
    local tls=false port=$NNTP_PORT broken=0 start name
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
    # The imports, once, and then from the start again.
    if [[ ! -e $dir/imported ]]; then
        for name in film tiny; do
            "$altmount" import "$dir/$name.nzb" --config "$dir/config.yaml" --data-dir "$dir/data" --listen "$listen"
        done >>"$dir/altmount.log" 2>&1
        touch "$dir/imported"
        kill "$server"
        wait "$server"
        ours "$@"
        return
    fi
    name=$2
    clear_away
    start=$(now)
    curl -sf -u "altmount:$(<"$dir/data/webdav.password")" -o "${3:-/dev/null}" "http://$listen/webdav/$name/$name.mkv" || broken=1
    echo $(($(now) - start))
    kill "$server"
    wait "$server"
    ((broken == 0)) && { [[ -z ${3:-} ]] || cmp -s "$3" "$dir/$name.mkv"; }
}

median() { printf '%s\n' "$@" | sort -n | sed -n "$((($# + 1) / 2))p"; }
rate() { awk -v us="$1" -v mib="$mib" 'BEGIN { printf "%.0f", mib * 1e6 / us }'; }
of() { awk -v its="$1" -v ours="$2" 'BEGIN { printf "%.2f", its / ours }'; }
compare() { # KIND: sets `rates`, `ratio` (of the read) and `kept` (of the file); 1, with the reason in `rates`, where one of the two has not the right bytes
    local kind=$1 round turn who name time they=() we=() sent=() its_start=() our_start=() us its bare our_median its_median
    for ((round = 0; round < rounds; round++)); do
        for turn in 0 1; do
            who=$(((turn + round) % 2))
            for name in tiny film; do
                if ((who)); then
                    time=$(theirs "$kind" $name) || { rates="NZBGet has other bytes: $(last nzbget)"; return 1; }
                else
                    time=$(ours "$kind" $name "$dir/ours") || { rates="our bytes are other ones: $(last altmount)"; return 1; }
                fi
                case $who$name in
                0tiny) our_start+=("$time") ;;
                0film)
                    we+=("$time")
                    time=$(ours "$kind" $name) || { rates="the file cannot be read: $(last altmount)"; return 1; }
                    sent+=("$time")
                    ;;
                1tiny) its_start+=("$time") ;;
                1film) they+=("$time") ;;
                esac
            done
        done
    done
    our_median=$(median "${our_start[@]}") its_median=$(median "${its_start[@]}")
    us=$(($(median "${we[@]}") - our_median)) its=$(($(median "${they[@]}") - its_median)) bare=$(($(median "${sent[@]}") - our_median))
    ((us > 0 && its > 0 && bare > 0)) || { rates='the film takes no longer than a thousand bytes'; return 1; }
    ratio=$(of "$its" "$bare") kept=$(of "$its" "$us")
    rates="$mib MiB on $connections connections: $(rate "$bare") MiB/s, NZBGet $(rate "$its") MiB/s, ratio $ratio; into a file $(rate "$us") MiB/s, ratio $kept (without a start of $((our_median / 1000)) ms, NZBGet $((its_median / 1000)) ms)"
}
enough() { awk -v ratio="$ratio" -v kept="$kept" -v least="$least" 'BEGIN { exit !(ratio >= 1.0 && kept >= least) }'; }
for kind in plain TLS; do
    compare $kind || { say FAIL "$kind: $rates"; continue; }
    if enough; then
        say ok "$kind: $rates"
        continue
    fi
    before="at first $ratio and $kept"
    compare $kind || { say FAIL "$kind: $rates"; continue; }
    if enough; then say ok "$kind: $rates ($before)"; else say FAIL "$kind: $rates ($before), less than 1.0 or, of the file, $least"; fi
done
exit $failed
