# What a person types. `make help` lists it.

.PHONY: help build test

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16

build: ## the static binary, target/release/sidecar-init
	cargo build --release

test: ## every test
	cargo test --workspace
