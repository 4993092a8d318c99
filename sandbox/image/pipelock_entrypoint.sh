#!/bin/sh
# Starts pipelock, which is reachable from inside the container only: whoever reached it from
# elsewhere would get past egress. PIPELOCK_LISTEN=0.0.0.0:8888 is for those who run it without egress.
set -eu
# pipelock watches the directory. /etc/pipelock.yaml is a link to this file.
config=/etc/pipelock/pipelock.yaml
# A reload that comes while this is still a shell would end the bundle (signal(7): HUP terminates).
# pipelock catches HUP itself.
trap '' HUP

fail() {
    echo "pipelock: $config $1; make one with supervise pipelock-config" >&2
    exit 78
}
# Docker makes a directory where the source of a mount is missing.
[ -f "$config" ] || fail "is no file"
# pipelock takes one that lets everything through, such as an empty file.
/app/supervise pipelock-config --check "$config"
exec pipelock run --config "$config" --listen "${PIPELOCK_LISTEN:-127.0.0.1:8888}"
