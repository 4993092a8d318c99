#!/bin/sh
# Makes the CA with which pipelock reads TLS, in /var/lib/pipelock/ca, unless it is there; and, at each
# start, trusted.pem beside it, which is what egress trusts: that CA, and the public ones for those
# hosts whose TLS pipelock leaves alone.
set -eu
parent=/var/lib/pipelock
public=${SSL_CERT_FILE:-/etc/ssl/certs/ca-certificates.crt}
umask 022

fail() {
    echo "pipelock-ca: $1" >&2
    exit 78
}
[ -w "$parent" ] || fail "$(id -un) can't write to $parent; mount a volume that belongs to $(id -u)"
new=$(mktemp -d -p "$parent")
trap 'rm -rf "$new"' EXIT

if [ ! -d "$parent/ca" ]; then
    # Its hint to put the CA into the system's trust store is not for here: only egress trusts it.
    pipelock tls init --out "$new/ca" >/dev/null
    # pipelock refuses a key that others may read.
    chmod 0600 "$new/ca/ca-key.pem"
    chmod 0644 "$new/ca/ca.pem"
    chmod 0755 "$new/ca"
    # As a whole, so that one that was cut short is never taken for complete.
    mv -T "$new/ca" "$parent/ca"
fi
for file in "$parent/ca/ca.pem" "$parent/ca/ca-key.pem"; do
    [ -e "$file" ] || fail "$file is missing; put it there, or remove $parent/ca for a new CA"
    [ -r "$file" ] || fail "$(id -un) can't read $file; chown it to $(id -u)"
done
[ -r "$public" ] || fail "$public, the public CAs, can't be read; set SSL_CERT_FILE to them"
cat "$parent/ca/ca.pem" "$public" >"$new/trusted.pem"
mv "$new/trusted.pem" "$parent/trusted.pem"
