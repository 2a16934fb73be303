# part.sh, to be sourced: runs another program's checks as a part of the whole. The caller has $results, a file of lines `ok …` and
# `FAIL …`, and `record`, which writes its input there.
# shellcheck shell=bash

part_lines() { grep -cE '^(ok|FAIL) ' "${results:?}"; }
part() { # NAME LEAST COMMAND...: its lines, and a FAIL where it ends with an error or has written fewer than LEAST of them
    local name=$1 least=$2 before status ran
    shift 2
    before=$(part_lines)
    "$@" 2>&1 | record
    status=${PIPESTATUS[0]}
    ran=$(($(part_lines) - before))
    ((status == 0)) || echo "FAIL $name: it ended with status $status" | record
    ((ran >= least)) || echo "FAIL $name: only $ran of $least checks ran" | record
}
