# Every line of work with Orlop: `make help` lists them.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-builtin-rules

# Outside the checkout, so that clones and CI share what is built.
export CARGO_TARGET_DIR ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/orlop/target

# The tests' runner; cargo-nextest gives each test a process, where it is installed.
NEXTEST := $(shell command -v cargo-nextest 2> /dev/null)
TEST := $(if $(NEXTEST),nextest run --no-fail-fast,test --no-fail-fast)

# Sets the environment of every cargo call: one RocksDB for all of them.
ROCKSDB = eval "$$(scripts/rocksdb.sh)"
PEERS = eval "$$(scripts/peers.sh)"

.PHONY: help up build test verify fix bench chaos clean

help: ## lists the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

up: ## installs what is missing, builds, and starts a cluster (ARGS="--nodes 0" and so on)
	@scripts/install.sh build
	@scripts/install.sh run
	@$(MAKE) --no-print-directory build
	@exec "$(CARGO_TARGET_DIR)/release/orlop" up $(ARGS)

build: ## builds the release binary
	@$(ROCKSDB); cargo build --locked --release -p cli
	@echo "built $(CARGO_TARGET_DIR)/release/orlop"

test: ## installs what is missing, then checks everything: what CI runs
	@scripts/install.sh build
	@scripts/install.sh run
	@$(MAKE) --no-print-directory verify

verify: ## format, lints, docs and every test; writes nothing
	cargo fmt --all --check
	@$(ROCKSDB); cargo clippy --locked --workspace --all-targets -- -D warnings
	@$(ROCKSDB); RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps --quiet
	@$(ROCKSDB); $(PEERS); cargo build --locked -p cli && cargo $(TEST) --locked --workspace

fix: ## formats and applies what clippy can mend
	cargo fmt --all
	@$(ROCKSDB); cargo clippy --workspace --all-targets --fix --allow-dirty --allow-staged

bench: ## put throughput beside etcd, in one run (ARGS as of `orlop bench store compare`)
	@scripts/install.sh build
	@$(MAKE) --no-print-directory build
	@$(PEERS); "$(CARGO_TARGET_DIR)/release/orlop" bench store compare $(ARGS)

chaos: ## kills the store's leader again and again under load (ARGS="--seed 7 --kills 20")
	@scripts/install.sh build
	@$(MAKE) --no-print-directory build
	@"$(CARGO_TARGET_DIR)/release/orlop" chaos leader-kill $(ARGS)

clean: ## removes what was built (RocksDB and the peers stay in the cache)
	cargo clean
