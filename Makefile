# What a person types. `make help` lists it.

ARCH := $(shell uname -m)
# musl where its target is installed, for it starts faster and is smaller; glibc otherwise.
MUSL := $(ARCH)-unknown-linux-musl
GLIBC := $(ARCH)-unknown-linux-gnu
TARGET ?= $(if $(wildcard $(shell rustc --print target-libdir --target $(MUSL) 2>/dev/null)),$(MUSL),$(GLIBC))
STATIC_FLAGS := -C target-feature=+crt-static -C relocation-model=static
BINARY := target/release/sidecar-init
# A PID namespace of its own: as root, or as a user who may make one, or not at all.
ISOLATED = $(shell unshare --pid --fork --mount-proc true 2>/dev/null && echo unshare --pid --fork --mount-proc --kill-child \
	|| { unshare -Ur --pid --fork --mount-proc true 2>/dev/null && echo unshare -Ur --pid --fork --mount-proc --kill-child; })

# The oldest Rust that builds it.
OLDEST := $(shell sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)

# What `make fuzz` gives each target, in seconds.
SECONDS ?= 30

# For which machines `make dist` is. What it makes is of this time, and is signed with this key of ssh-keygen.
DIST ?= x86_64-unknown-linux-musl aarch64-unknown-linux-musl
SOURCE_DATE_EPOCH ?= $(shell git log -1 --format=%ct)
SIGNING_KEY ?=

# The sidecars' image.
IMAGE ?= claude-bottle-sidecars

# What `make test` is to run of the tests: a file of tests/, and a part of a test's name.
TEST ?=
ONLY ?=

# Which faults `make faults` tries: those with this in their names, such as "clone ENOMEM" or Pid1.
FAULTS ?=

.PHONY: help build run test generated faults fuzz lint spelling licences oldest advisories miri bench dist order boots image sidecars

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16

build: ## the static binary, target/release/sidecar-init
	RUSTFLAGS="$(STATIC_FLAGS)" cargo build --release --bin sidecar-init --target $(TARGET) --target-dir target
	@mkdir -p target/release
	@cp -f target/$(TARGET)/release/sidecar-init $(BINARY)

run: build ## a bundle of small services, as PID 1 of a new PID namespace; end it with Ctrl-C
	$(ISOLATED) $(BINARY) run -f examples/demo.toml

# The tests in containers run the static binary.
test: $(if $(filter-out containers sidecars,$(TEST)),,build) ## every test; TEST=control ONLY=a_reload for some of them
	tests/run $(addprefix --test ,$(TEST)) $(if $(ONLY),-- $(ONLY))

generated: ## write again what is made from tables: completions, and the manual and the schema of the bundle's file
	WRITE_GENERATED=1 cargo test --workspace --quiet --test interface generated

faults: ## the long form of a test: each system call fails in each way, about half an hour
	FAULTS="$(FAULTS)" tests/run --test fault_matrix -- a_failing_call

# RUSTC_BOOTSTRAP lets a stable compiler instrument the code, which else only a nightly one may.
fuzz: ## the long form of the tests: fuzz each parser, SECONDS=30 each; needs cargo-fuzz
	@command -v cargo-fuzz >/dev/null || { echo "fuzz: first run cargo install cargo-fuzz --locked" >&2; exit 1; }
	@set -e; for target in bundle control notify probe; do \
		mkdir -p fuzz/corpus/$$target; \
		RUSTC_BOOTSTRAP=1 cargo fuzz run --fuzz-dir fuzz $$target fuzz/corpus/$$target fuzz/seeds/$$target \
			-- -max_total_time=$(SECONDS) -max_len=8192; \
	done

lint: ## formatting, clippy and documentation, as CI wants them
	cargo fmt --all --check
	cargo fmt --manifest-path bench/Cargo.toml --check
	rustfmt --check fuzz/targets/*.rs
	cargo clippy --workspace --all-targets -- -D warnings
	cargo clippy --manifest-path bench/Cargo.toml --target-dir target --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --quiet --no-deps --lib

spelling: ## of the documents; needs typos
	typos README.md ARCHITECTURE.md CHANGELOG.md docs

# $(call deny,CHECKS): of all three workspaces, by deny.toml.
define deny
@command -v cargo-deny >/dev/null || { echo "$@: first run cargo install cargo-deny --locked" >&2; exit 1; }
@set -e; for manifest in Cargo.toml bench/Cargo.toml fuzz/Cargo.toml; do \
	echo "$$manifest:"; \
	cargo deny --locked --workspace --manifest-path $$manifest --config deny.toml check $(1); \
done
endef

licences: ## licences and origins of dependencies; needs cargo-deny
	$(call deny,licenses sources)

oldest: ## whether the init builds with the oldest Rust that Cargo.toml promises; needs rustup
	rustup toolchain install --profile minimal --no-self-update $(OLDEST)
	cargo +$(OLDEST) check --quiet --target-dir target/oldest

advisories: ## known faults of dependencies; needs cargo-deny, and RustSec's database from GitHub
	$(call deny,advisories)

# proptest reads files, which Miri forbids by default. Miri is slow, so each property is tried a few times.
miri: ## undefined behaviour in what Miri can run; needs a nightly toolchain with miri and rust-src
	@cargo +nightly miri --version >/dev/null 2>&1 || { echo "miri: first run rustup toolchain install nightly --component miri,rust-src" >&2; exit 1; }
	MIRIFLAGS=-Zmiri-disable-isolation PROPTEST_CASES=4 cargo +nightly miri test -p sidecar-init --lib -- \
		signal:: exit:: duration:: time_limit:: event_kind:: supervisor:: record:: timeline:: metrics:: protocol::answer \
		sys::spawn::report::tests::every_failure sys::peer::tests::one_of_another

bench: ## measure it beside its peers (as root); BENCH="start signal --quick" for a part
	dist/build $(MUSL)
	RUSTFLAGS="$(STATIC_FLAGS)" cargo build --release -q --bin sidecar-init --target $(GLIBC) --target-dir target
	cargo build --release -q -p git-gate
	cargo run --release -q --manifest-path bench/Cargo.toml --target-dir target -- $(BENCH)

dist: ## what users download, target/packages; SIGNING_KEY=file signs it; needs rustup's musl targets, python3 and dpkg-deb
	dist/build $(DIST)
	SOURCE_DATE_EPOCH=$(SOURCE_DATE_EPOCH) dist/pack $(DIST)
	$(if $(SIGNING_KEY),ssh-keygen -q -Y sign -f $(SIGNING_KEY) -n file target/packages/SHA256SUMS)

order: ## take anew the trace that dist/functions.txt is of, which the linker orders functions by; on x86_64
	dist/build x86_64-unknown-linux-musl
	dist/order
	dist/build x86_64-unknown-linux-musl
	dist/order --check target/x86_64-unknown-linux-musl/dist/sidecar-init.map

boots: ## boot Debian's oldest and newest kernels with what `make dist` made as their PID 1; needs qemu-system
	dist/boots

image: ## the sidecars' image; LOCAL_BASES=1 makes its bases first, where no registry answers
	arguments="$(if $(LOCAL_BASES),$$(sandbox/image/local_bases.sh))" && \
		docker build $$arguments -f sandbox/Dockerfile.sidecars -t $(IMAGE) .

sidecars: ## run that image as it is, closed to everything; end it with Ctrl-C
	docker run --rm -it --name sidecars --read-only --cap-drop ALL \
		--cap-add CHOWN --cap-add KILL --cap-add SETGID --cap-add SETPCAP --cap-add SETUID \
		--security-opt no-new-privileges --sysctl net.ipv4.ip_forward=0 $(IMAGE)
