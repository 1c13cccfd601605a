# Everything that a person or CI runs. `make help` lists it.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
# Targets call each other's tools: never two cargo runs at once, also under `make -j`.
.NOTPARALLEL:

# Outside of the clone: builds survive `git clean`, and clones share them.
export CARGO_TARGET_DIR ?= $(if $(XDG_CACHE_HOME),$(XDG_CACHE_HOME),$(HOME)/.cache)/orlop/target

# RocksDB is compiled once for every profile; the script prints where it is.
rocksdb := set -a; eval "$$(scripts/rocksdb.sh)"; set +a
peers = peers="$$(scripts/peers.sh)"; export ORLOP_PEERS="$$peers" ORLOP_ETCD="$$peers/etcd" PATH="$$peers:$$PATH"
orlop := $(CARGO_TARGET_DIR)/release/orlop
# If there is one: without it a soak says that it simulates nothing.
simulator = $(addprefix --simulator=,$(wildcard $(CARGO_TARGET_DIR)/sim/orlop-sim))

.PHONY: help up build test verify unit fix bench chaos soak sim planted clients fuzz clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

up: ## Install what is missing, build, and start a cluster: make up ARGS="--nodes 2"
	@scripts/containers.sh
	@$(MAKE) --no-print-directory build
	@exec $(orlop) up $(ARGS)

build: ## Build the release binary
	@scripts/build.sh

test: ## Install what is missing, then check everything: what CI runs
	@scripts/containers.sh
	@scripts/test.sh

verify: ## What must hold of every commit; writes nothing: fmt, clippy, docs, tests
	@scripts/test.sh

unit: ## Run some tests: make unit ARGS="-p cli"
	@scripts/test.sh only $(or $(ARGS),--workspace)

fix: ## Format, and apply what clippy can mend by itself
	cargo fmt --all
	@$(rocksdb); cargo clippy --workspace --all-targets --fix --allow-dirty --allow-staged

bench: build ## The table of figures beside etcd's, in 11 minutes: make bench ARGS="--rows b1,b4"
	@$(peers); $(orlop) bench store versus --etcd "$$ORLOP_ETCD" --slow-fsync 4ms --report $(CARGO_TARGET_DIR)/bench.md $(ARGS)

chaos: build ## Kill the store's leader under load, again and again: make chaos ARGS="--seed 7"
	$(orlop) chaos leader-kill $(ARGS)

soak: build ## Hours of chaos with new seeds, counted; goes on after a stop: make soak ARGS="--hours 8"
	$(orlop) chaos soak $(simulator) $(ARGS)

sim: build ## Run the store in a simulated world, seed after seed: make sim ARGS="--seeds 1-200 --twice"
	@$(rocksdb); cargo build --profile sim -p chaos-sim --features sim --locked
	$(orlop) chaos sim --simulator $(CARGO_TARGET_DIR)/sim/orlop-sim $(ARGS)

clients: build ## Let Python's etcd3gw, npm's etcd3 and Rust's etcd-client use a store, as CI does not
	scripts/clients.sh -- $(orlop) store

planted: ## Plant bugs in the store, and show how soon each is found: make planted ARGS="--bug lease-old-leader"
	@$(rocksdb); cargo build -p chaos-planted --features planted --bin orlop-planted --locked
	$(CARGO_TARGET_DIR)/debug/orlop-planted suite $(ARGS)

fuzz: ## Fuzz what others give the store, or the API server: make fuzz ARGS="--api patches --time 600"
	@scripts/fuzz.sh $(ARGS)

clean: ## Remove what cargo built here; caches of RocksDB and of test programs stay
	cargo clean
