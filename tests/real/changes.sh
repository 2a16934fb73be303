#!/usr/bin/env bash
# changes.sh URL FOLDER FILE LOCAL: what WebDAV clients may change in the library, on an imported file.
#   URL   the collection; FOLDER/FILE an imported file below it, LOCAL its original. In the end it is where it was.
#   DAV_USER, DAV_PASSWORD   the login
# A line of `ok` or `FAIL` for each check; exit status 1 if one failed.
set -uo pipefail
(($# == 4)) || { sed -n '2,5p' "$0" >&2; exit 2; }
url=${1%/} folder=$2 file=$3 local=$4
: "${DAV_USER:?}" "${DAV_PASSWORD:?}"
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
failed=0
host=$(sed 's,^[a-z]*://,,; s,[:/].*,,' <<<"$url")
printf 'machine %s login %s password %s\n' "$host" "$DAV_USER" "$DAV_PASSWORD" >"$tmp/.netrc"
printf '[dav]\ntype = webdav\nurl = %s\nuser = %s\npass = %s\n' "$url" "$DAV_USER" \
    "$(rclone obscure "$DAV_PASSWORD")" >"$tmp/rclone.conf"
chmod 600 "$tmp/.netrc" "$tmp/rclone.conf"
rclone() { command rclone --config "$tmp/rclone.conf" --retries 1 "$@"; }
status() { curl -s --netrc-file "$tmp/.netrc" --max-time 30 -o "$tmp/body" -w '%{http_code}' "$@"; }
same() { rclone cat "dav:$1" | cmp - "$local"; }
is() { [[ $2 == "$3" ]] || { echo "$1: $2, not $3"; return 1; }; }

try() { # NAME COMMAND...
    local name=$1
    shift
    if "$@" >"$tmp/out" 2>&1; then
        echo "ok   $name"
    else
        printf 'FAIL %s: %s\n' "$name" "$(tail -n 3 "$tmp/out" | tr '\n' ' ')"
        failed=1
    fi
}

rename_file() { rclone moveto "dav:$folder/$file" "dav:$folder/renamed – $file" && same "$folder/renamed – $file"; }
move_file() {
    rclone mkdir 'dav:Another folder/below' && rclone moveto "dav:$folder/renamed – $file" "dav:Another folder/below/$file" &&
        same "Another folder/below/$file" && is 'the old name' "$(status -I "$url/$folder/$file")" 404
}
move_folder() {
    is MOVE "$(status -X MOVE -H "Destination: $url/Moved" "$url/Another%20folder")" 201 && same "Moved/below/$file"
}
back() {
    rclone moveto "dav:Moved/below/$file" "dav:$folder/$file" && rclone purge dav:Moved && same "$folder/$file" &&
        is 'the emptied folder' "$(status -I "$url/Moved/")" 404
}
no_upload() {
    is PUT "$(status -T "$local" "$url/$folder/upload.bin")" 405 &&
        is 'PUT over a file' "$(status -T /etc/hostname "$url/$folder/$file")" 405 && same "$folder/$file"
}
no_overwrite() { # RFC 4918, 9.9.3
    rclone mkdir "dav:$folder/taken" &&
        is MOVE "$(status -X MOVE -H 'Overwrite: F' -H "Destination: $url/$folder/taken" "$url/$folder/$file")" 412 &&
        rclone rmdir "dav:$folder/taken" && same "$folder/$file"
}
outside() { is MOVE "$(status -X MOVE -H 'Destination: http://elsewhere.invalid/x' "$url/$folder/$file")" 502; }
locked() { # cadaver locks, and nobody else may move or delete until it unlocks
    local pid deleted moved read
    mkfifo "$tmp/commands"
    HOME=$tmp timeout 60 cadaver "$url/" <"$tmp/commands" >"$tmp/cadaver" 2>&1 &
    pid=$!
    exec 9>"$tmp/commands"
    printf 'cd "%s"\nlock %s\n' "$folder" "$file" >&9
    for ((i = 0; i < 100; i++)); do
        status -X PROPFIND -H 'Depth: 0' "$url/$folder/$file" >/dev/null
        grep -q activelock "$tmp/body" && break
        sleep 0.1
    done
    if ((i < 100)); then
        deleted=$(status -X DELETE "$url/$folder/$file")
        moved=$(status -X MOVE -H "Destination: $url/$folder/elsewhere" "$url/$folder/$file")
        read=$(status "$url/$folder/$file")
    fi
    printf 'unlock %s\nquit\n' "$file" >&9
    exec 9>&-
    wait "$pid"
    cat "$tmp/cadaver"
    ((i < 100)) || { echo 'the lock does not show'; return 1; }
    is DELETE "$deleted" 423 && is MOVE "$moved" 423 && is GET "$read" 200 &&
        is 'MOVE after the unlock' "$(status -X MOVE -H "Destination: $url/$folder/elsewhere" "$url/$folder/$file")" 201 &&
        rclone moveto "dav:$folder/elsewhere" "dav:$folder/$file" && same "$folder/$file"
}

try 'changes: rclone renames a file' rename_file
try 'changes: rclone moves it into a new folder' move_file
try 'changes: a folder moves with what is in it' move_folder
try 'changes: and back' back
try 'changes: nothing can be uploaded' no_upload
try 'changes: a move overwrites nothing where it must not' no_overwrite
try 'changes: a move stays on this server' outside
try 'changes: what cadaver locks nobody else moves or deletes' locked
exit $failed
