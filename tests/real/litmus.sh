#!/usr/bin/env bash
# litmus.sh URL OUT: WebDAV conformance (litmus 0.13), compared test by test with litmus-expected.txt.
#   DAV_USER, DAV_PASSWORD   the login;  OUT keeps litmus's own words
# A line of `ok` or `FAIL` for each suite. What fails without being expected to, and what passes although it was expected
# to fail, are both failures: the list says what is true.
set -uo pipefail
url=${1:?usage: litmus.sh URL OUT} out=${2:?usage: litmus.sh URL OUT}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
suites=(basic copymove props locks http)

(cd "$tmp" && TESTS="${suites[*]}" timeout 180 litmus -k "$url" "${DAV_USER:?}" "${DAV_PASSWORD:?}") 2>&1 |
    tr '\r' '\n' | tr -cd '\n -~' >"$out"

# "SUITE NUMBER.TEST OUTCOME" of every test; a warning is an outcome of its own. Names alone are not unique.
awk '
    /^-> running/ { gsub(/[`:\x27]/, "", $3); suite = $3 }
    /^ *[0-9]+\. / && $3 ~ /^(pass|FAIL|SKIPPED|WARNING)/ {
        name = $2; sub(/\.+$/, "", name)
        outcome = $3; sub(/:$/, "", outcome)
        print suite, $1 name, outcome
    }
' "$out" | sort -u >"$tmp/outcomes"
grep -v ' pass$' "$tmp/outcomes" >"$tmp/found"
sed 's/ *#.*//; /^ *$/d' "$here/litmus-expected.txt" | awk '{ print $1, $2, $3 }' | sort -u >"$tmp/expected"

failed=0
for suite in "${suites[@]}"; do
    ran=$(grep -c "^$suite " "$tmp/outcomes")
    differences=$(diff <(grep "^$suite " "$tmp/expected") <(grep "^$suite " "$tmp/found") |
        sed -n "s/^< $suite /expected and not seen: /p; s/^> $suite /not expected: /p" | paste -sd ';')
    if ! grep -aq "^<- summary for \`$suite'" "$out"; then
        differences="the suite did not run to its end;$differences"
    fi
    if [[ -n $differences || $ran == 0 ]]; then
        echo "FAIL litmus $suite: ${differences:-no test ran}"
        failed=1
    else
        passed=$(grep -c "^$suite .* pass$" "$tmp/outcomes")
        echo "ok   litmus $suite: $passed of $ran pass, the others are on the list"
    fi
done
exit $failed
