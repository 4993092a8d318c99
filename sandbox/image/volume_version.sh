#!/bin/sh
# volume_version.sh DIRECTORY VERSION: notes the version of what is kept in this volume, in its file
# VERSION, and ends with 78 if a later image has written it. It runs as the user whose volume it is: root
# without CAP_DAC_OVERRIDE may not read all of them.
#
# The version is raised when an image can't use what the one before has written, or the other way round.
set -eu
file=$1/VERSION

if [ -e "$file" ]; then
    # No more of it than a number has: a service can write there.
    found=$([ ! -f "$file" ] || head -c 9 "$file")
    case $found in
        '' | *[!0-9]*)
            echo "volumes: $file is not the number of a version; if what is in $1 is of version $2," \
                "remove the file" >&2
            exit 78
            ;;
    esac
    if [ "$found" -gt "$2" ]; then
        echo "volumes: $1 is of version $found, and this image knows version $2; use the image that" \
            "wrote it, or mount another volume there" >&2
        exit 78
    fi
    exit 0
fi
# It is new, or of version 1, from before there was such a file. A service that can't write here says so.
new=$(mktemp -p "$1" 2>/dev/null) || exit 0
chmod 0644 "$new"
echo "$2" >"$new"
mv "$new" "$file"
