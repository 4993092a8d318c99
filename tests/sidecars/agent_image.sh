#!/usr/bin/env bash
# agent_image.sh NAME: makes the image of the tests' agent and of their upstream: Debian trixie, the
# clients that an agent has, and from PyPI and npm those of other people. Does nothing if it is there.
set -euo pipefail
image=$1
if docker image inspect "$image" >/dev/null 2>&1; then
    exit 0
fi
echo "making $image from Debian, PyPI and npm, which takes some minutes" >&2
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
"${PYTHON:-python3}" -m pip download --quiet --python-version 3.13 --only-binary=:all: \
    --dest "$scratch/wheels" \
    mcp==2.3.0 'httpx[http2]==0.28.1' requests==2.34.2 websockets==17.4 hypercorn==0.18.0 trustme==1.2.1 >&2
npm install --silent --no-audit --no-fund --prefix "$scratch/inspector" \
    @modelcontextprotocol/inspector@2.12.0 >&2
# Debian's Node.js knows no proxy by itself: this one does, and undici teaches it to others.
for package in npm@11.6.2 node@24.21.0 undici@7.16.0; do
    npm install --silent --no-audit --no-fund --prefix "$scratch/${package%@*}" "$package" >&2
done
# A coding agent as its maker hands it out: one program.
npm install --silent --no-audit --no-fund --prefix "$scratch/claude" @anthropic-ai/claude-code@2.1.332 >&2
mkdir "$scratch/bin"
cp -L "$scratch/claude/node_modules/.bin/claude" "$scratch/bin/claude"
cp -L "$scratch/node/node_modules/node/bin/node" "$scratch/bin/node-24"
mmdebstrap --quiet --variant=minbase \
    --include=ca-certificates,curl,gh,git,iproute2,nodejs,openssh-client,openssh-server,openssl,python3,python3-venv \
    --customize-hook="copy-in $scratch/wheels /tmp" \
    --customize-hook="copy-in $scratch/inspector /opt" \
    --customize-hook="copy-in $scratch/npm $scratch/undici /opt" \
    --customize-hook="copy-in $scratch/bin/claude $scratch/bin/node-24 /usr/bin" \
    --customize-hook='chroot "$1" useradd --create-home agent' \
    --customize-hook='chroot "$1" python3 -m venv /opt/python' \
    --customize-hook='chroot "$1" /opt/python/bin/pip install --quiet --no-index --find-links /tmp/wheels mcp "httpx[http2]" requests websockets hypercorn trustme' \
    --customize-hook='rm -r "$1/tmp/wheels"' \
    trixie - | docker import - "$image" >/dev/null
