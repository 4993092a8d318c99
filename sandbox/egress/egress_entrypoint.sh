#!/bin/sh
# Starts egress: mitmdump with the addon, with the upstream proxy as the only way out.
# docs/egress.md has the variables. More arguments go to mitmdump; the addon refuses what is unsafe.
set -eu
# mitmproxy's CA key and whatever else is written is for this user alone.
umask 077
# A reload that comes while Python still starts would end it (signal(7): HUP terminates).
trap '' HUP

fail() {
    echo "egress: $1" >&2
    exit 78
}
[ -n "${EGRESS_UPSTREAM_PROXY:-}" ] ||
    fail "EGRESS_UPSTREAM_PROXY is not set; set it to the proxy behind egress, as http://127.0.0.1:8888"
[ -n "${EGRESS_UPSTREAM_CA:-}" ] ||
    fail "EGRESS_UPSTREAM_CA is not set; set it to the file with that proxy's CA certificate"
[ -s "$EGRESS_UPSTREAM_CA" ] ||
    fail "EGRESS_UPSTREAM_CA: $EGRESS_UPSTREAM_CA is missing, empty or not readable"

# Each of the agent's connections takes two descriptors; the usual soft limit of 1024 is soon reached.
ulimit -S -n "$(ulimit -H -n)"

here=$(cd "$(dirname "$0")" && pwd)
export PYTHONPATH="$here" PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
exec mitmdump -s "$here/egress/script.py" \
    --mode "upstream:${EGRESS_UPSTREAM_PROXY%/}" \
    --listen-host "${EGRESS_LISTEN_HOST:-}" \
    --listen-port "${EGRESS_LISTEN_PORT:-9099}" \
    --set confdir="${EGRESS_CONFDIR:-/home/mitmproxy/.mitmproxy}" \
    --set ssl_verify_upstream_trusted_ca="$EGRESS_UPSTREAM_CA" \
    --set connection_strategy=lazy \
    --set rawtcp=false \
    --set http3=false \
    --set onboarding=false \
    --set flow_detail=0 \
    --set termlog_verbosity=error \
    "$@"
