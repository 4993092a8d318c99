#!/bin/sh
# Fills the volumes as the sidecars of version 1 did, before there was a file VERSION. Runs in their image, as root.
# Nothing here changes any more: an image that can't use it takes volumes of a later version.
set -eu

cd /run/supervise
mkdir -p queue/archive
route='{"host": "api.example.com", "paths": ["/v1/"], "methods": ["GET"], "ports": [443]}'
# propose DIRECTORY ID REQUEST
propose() {
    cat >"$1/$2.json" <<END
{
  "id": "$2",
  "time": "2026-11-28T12:00:00Z",
  "from": "192.0.2.1",
  "request": $3,
  "justification": "version 1 asks"
}
END
}
propose queue aaaaaaaa '{"kind": "egress-route", "route": '"$route"'}'
propose queue bbbbbbbb '{"kind": "pipelock-host", "host": "*.example.com"}'
propose queue cccccccc '{"kind": "capability", "change": "RUN true"}'
propose queue dddddddd '{"kind": "gitleaks-exception", "repository": "app", "fingerprint": "aws-access-token:a:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"}'
propose queue/archive eeeeeeee '{"kind": "pipelock-host", "host": "old.example.com"}'
cat >queue/archive/eeeeeeee.decision.json <<END
{
  "id": "eeeeeeee",
  "verdict": "rejected",
  "time": "2026-11-28T12:01:00Z",
  "by": "root",
  "note": "version 1 says no"
}
END
echo '{"by":"192.0.2.1","event":"proposed","id":"eeeeeeee"}' >audit.jsonl
chown -R supervise:root queue audit.jsonl
chmod -R g+rwX,o= queue audit.jsonl

cd /git
mkdir -p .git-gate app.git
touch .git-gate/app.lock
cd app.git
git init --quiet --bare --template= --initial-branch=main .
tree=$(git hash-object -t tree -w /dev/null)
commit=$(GIT_AUTHOR_DATE='2026-11-28T12:00:00Z' GIT_COMMITTER_DATE='2026-11-28T12:00:00Z' git -c user.name=A -c user.email=a@example.com \
    commit-tree -m "version 1" "$tree")
git update-ref refs/heads/main "$commit"
chown -R git-gate:git-gate /git

cd /home/mitmproxy/.mitmproxy
"$(sed -n '1s/^#!//p' "$(command -v mitmdump)")" -c "
from pathlib import Path
from mitmproxy.certs import CertStore
CertStore.create_store(Path('.'), 'mitmproxy', 2048, 'version 1', 'version 1')"
chmod 0600 ./*
chown mitmproxy:mitmproxy ./*

cd /var/lib/pipelock
pipelock tls init --out ca >/dev/null
chmod 0755 ca
chmod 0600 ca/ca-key.pem
chmod 0644 ca/ca.pem
chown -R pipelock:pipelock ca

echo '{"event":"started","service":"egress","time":"2026-11-28T12:00:00Z"}' >/run/sidecar-init/events.jsonl
