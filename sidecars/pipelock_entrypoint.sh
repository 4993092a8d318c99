#!/bin/sh
# Starts pipelock, which is reachable from inside the container only: whoever reached it from
# elsewhere would get past egress. PIPELOCK_LISTEN=0.0.0.0:8888 is for those who run it without egress.
set -eu
if [ ! -f /etc/pipelock.yaml ]; then
    # Docker makes a directory where the source of a mount is missing.
    echo "pipelock: /etc/pipelock.yaml is no file; make one with supervise pipelock-config" >&2
    exit 78
fi
exec pipelock run --config /etc/pipelock.yaml --listen "${PIPELOCK_LISTEN:-127.0.0.1:8888}"
