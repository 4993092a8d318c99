#!/bin/sh
# Gives each volume that still belongs to root to the service that writes to it. Docker makes the
# directories of bind mounts, and of volumes that a base image declares, for root. Then checks the version of
# what is in it.
set -eu

# volume DIRECTORY USER GROUP MODE VERSION
volume() {
    own "$@"
    setpriv --reuid="$2" --regid="$2" --clear-groups sh /app/volume_version.sh "$1" "$5"
}

own() {
    owner=$(stat -c %u "$1") || exit 78
    [ "$owner" = 0 ] || return 0
    # The mode before the owner: without CAP_FOWNER nobody else may change it. The group before the mode:
    # with a foreign one chmod(2) takes the setgid bit away.
    if ! { chgrp "$3" "$1" && chmod "$4" "$1" && chown "$2" "$1"; }; then
        echo "volumes: $1 belongs to root, and can't be given to $2; let the container keep the" \
            "capability CHOWN, or chown the directory to $(id -u "$2")" >&2
        exit 78
    fi
}
volume /home/mitmproxy/.mitmproxy mitmproxy mitmproxy 0700 1
volume /var/lib/egress mitmproxy mitmproxy 0755 1
volume /var/lib/pipelock pipelock pipelock 0755 1
volume /git git-gate git-gate 0750 1
# The operator's commands run as root, which without CAP_DAC_OVERRIDE can write as its group only.
volume /run/supervise supervise root 2770 1
# Kubernetes makes the directories of its volumes writable for all. Here a service could put a link in
# the place of the init's events.
volume /run/sidecar-init root root 0755 1
