#!/bin/sh
# image.sh NAME PACKAGES: makes the image that container tests run in, from Debian's packages
# alone, so that no image registry is needed. Does nothing if it is there already.
set -eu
image=$1
if docker image inspect "$image" >/dev/null 2>&1; then
    exit 0
fi
echo "making $image from Debian's packages, which takes a minute" >&2
mmdebstrap --quiet --variant=minbase --include="$2" trixie - | docker import - "$image" >/dev/null
