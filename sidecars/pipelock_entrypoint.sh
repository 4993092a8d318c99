#!/bin/sh
# Starts pipelock, which is reachable from inside the container only: whoever reached it from
# elsewhere would get past egress. PIPELOCK_LISTEN=0.0.0.0:8888 is for those who run it without egress.
set -eu
config=/etc/pipelock.yaml

fail() {
    echo "pipelock: $config $1; make one with supervise pipelock-config" >&2
    exit 78
}
# Docker makes a directory where the source of a mount is missing.
[ -f "$config" ] || fail "is no file"
# pipelock takes an empty file, and lets everything through then.
grep -Eq '^mode:[[:space:]]+"?strict"?[[:space:]]*(#.*)?$' "$config" ||
    fail "has no line \"mode: strict\", without which every host could be reached"
exec pipelock run --config "$config" --listen "${PIPELOCK_LISTEN:-127.0.0.1:8888}"
