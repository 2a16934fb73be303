#!/usr/bin/env bash
# plugin-new.sh ALTMOUNT CHECKOUT FOLDER: from `altmount plugin new` to a loaded importer that answers the import endpoint, as the guide
# (docs/plugin-guide.md) says it. Builds without a network, against the checkout and what cargo has of its dependencies.
# A line of `ok` or `FAIL` for each step.
set -uo pipefail
altmount=$1 checkout=$(cd "$2" && pwd) folder=$3
mkdir -p "$folder" && folder=$(cd "$folder" && pwd)
rm -rf "$folder/demo-list" "$folder/data"
failed=0
check() { # NAME COMMAND...
    local name=$1
    shift
    if "$@" >"$folder/out" 2>&1; then
        echo "ok   plugin new: $name"
    else
        echo "FAIL plugin new: $name: $(tail -n 8 "$folder/out" | tr '\n' ' ')"
        failed=1
        return 1
    fi
}
crate=$folder/demo-list
# One target folder for every run, so that the dependencies are built once.
export CARGO_TARGET_DIR=$folder/target CARGO_NET_OFFLINE=true
check 'the crate is made' "$altmount" plugin new demo-list --sdk "$checkout" --path "$crate" || exit 1
# The versions that the checkout is built with: cargo has those.
cp "$checkout/Cargo.lock" "$crate/Cargo.lock"
tests() { (cd "$crate" && cargo test && cargo build); }
check 'it builds and passes its tests' tests || exit 1
library=$folder/target/debug/libaltmount_importer_demo_list.so
printf 'world\nmoon\n' >"$folder/people.demo-list"
check 'the library conforms' "$altmount" plugin check "$library" --sample "$folder/people.demo-list" --data-dir "$folder/data"

mkdir -p "$folder/data" "$folder/lib"
install -m 644 "$library" "$folder/lib/demo.so"
listen=127.0.0.1:$(python3 -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])')
hashed() { "$altmount" plugin hash "$folder/lib/demo.so" >"$folder/data/config.yaml" && chmod 600 "$folder/data/config.yaml"; }
check 'its hash goes into the configuration' hashed
"$altmount" --data-dir "$folder/data" --listen "$listen" >"$folder/server.log" 2>&1 &
server=$!
trap 'kill $server 2>/dev/null; wait $server 2>/dev/null' EXIT
for ((i = 0; i < 200; i++)); do
    curl -sf -o /dev/null "http://$listen/readyz" && break
    sleep 0.1
done
key=$("$altmount" key show --data-dir "$folder/data")
listed() { curl -sf "http://$listen/api/plugins" -H "X-Api-Key: $key" | python3 -c '
import json, sys
found = {p["id"]: p for p in json.load(sys.stdin)["data"]}["demo-list"]
assert (found["state"], found["linked"], found["verified"]) == ("loaded", False, True), found'; }
check 'the server has loaded it, verified' listed
imported() {
    "$altmount" import "$folder/people.demo-list" --data-dir "$folder/data" --listen "$listen" || return 1
    curl -sf "http://$listen/api/library?path=/people" -H "X-Api-Key: $key" | python3 -c '
import json, sys
print(*sorted(f["name"] for f in json.load(sys.stdin)["data"]))' >"$folder/names" && grep -qx 'moon.txt world.txt' "$folder/names"
}
check 'the import endpoint answers, and its files are in the library' imported
exit $failed
