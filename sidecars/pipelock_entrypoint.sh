#!/bin/sh
# Starts pipelock, which is reachable from inside the container only: whoever reached it from
# elsewhere would get past egress. PIPELOCK_LISTEN=0.0.0.0:8888 is for those who run it without egress.
set -eu
exec pipelock run --config /etc/pipelock.yaml --listen "${PIPELOCK_LISTEN:-127.0.0.1:8888}"
