#!/usr/bin/env bash
# inn-down.sh DIR: stops the server of inn-up.sh DIR, and only processes that wrote their ids there.
set -uo pipefail
dir=$(cd "${1:?usage: inn-down.sh DIR}" && pwd) || exit 1
export INNCONF=$dir/etc/inn.conf
name() { cat "/proc/$1/comm" 2>/dev/null; }
gone() { # a zombie counts as gone: whoever is to reap it may take its time
    local state
    state=$(sed 's/.*) //; s/ .*//' "/proc/$1/stat" 2>/dev/null)
    [[ -z $state || $state == Z ]]
}
for file in "$dir"/run/nnrpd-*.pid "$dir/run/innd.pid"; do
    [[ -s $file ]] || continue
    pid=$(<"$file")
    [[ $(name "$pid") == innd || $(name "$pid") == nnrpd* ]] || continue
    children=$(cat "/proc/$pid/task/$pid/children" 2>/dev/null)
    if [[ $file == */innd.pid ]]; then
        # innd heeds its control socket more surely than a signal.
        setpriv --reuid news --regid news --clear-groups /usr/lib/news/bin/ctlinnd -t 10 shutdown down ||
            kill "$pid" 2>/dev/null
    else
        kill "$pid" 2>/dev/null
        for child in $children; do # one for each connection that a client left open
            [[ $(name "$child") != nnrpd* ]] || kill "$child" 2>/dev/null
        done
    fi
    for ((try = 0; try < 100; try++)); do
        gone "$pid" && break
        sleep 0.1
    done
    gone "$pid" || kill -9 "$pid" 2>/dev/null
done
exit 0
