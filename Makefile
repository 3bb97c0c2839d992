# `make help` says what each target does. Needed: a Rust toolchain, a C compiler, make. Nothing else is installed, except that
# `make test` installs Debian's PostgreSQL, chromium and python3-venv where there are none and it may, and SDKs into the target folder.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help run demo test lint fmt deps bench dist clean

TARGET := $(or $(CARGO_TARGET_DIR),target)
PG := $(TARGET)/debug/levqor-testkit-pg

# RELEASE=1 makes `run` and `demo` optimised: faster, but the first build takes minutes instead of one or two.
ifdef RELEASE
RUN_PROFILE := --release
endif

# Arguments handed on, such as ARGS="--port 8080" for run or ARGS="--quick" for bench.
ARGS ?=
# For bench: sqlite, postgres or both; the build that is measured.
ENGINE ?= both
PROFILE ?= dist

help: ## Show this list
	@echo "Usage: make <target>"
	@echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-7s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo "Try: make demo"

run: ## Build and start Levqor in development mode on 127.0.0.1:5000, data in levqor.db, workflows from workflows/
	cargo run --locked $(RUN_PROFILE) -p levqor -- serve $(ARGS)

demo: ## Build, then play and explain the story of one job and of a budget that holds; leaves nothing behind
	cargo run --locked $(RUN_PROFILE) -p levqor -- demo

test: ## Run all tests on both engines; brings its own PostgreSQL, chromium and Python SDKs
	cargo test --workspace --locked --no-run
	cargo build --locked -p levqor-testkit --bins
	$(TARGET)/debug/levqor-testkit-browser
	$(TARGET)/debug/levqor-testkit-python
	$(PG) run -- cargo test --workspace --locked
	LEVQOR_TEST_HTTP_ENGINE=postgres $(PG) run -- cargo test --locked -p levqor --test http

lint: ## Check formatting and lints
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings

fmt: ## Format all code
	cargo fmt --all

deps: ## Check licences, sources and bans of all dependencies (needs cargo-deny)
	@command -v cargo-deny >/dev/null || { echo "cargo-deny is missing; install it with: cargo install --locked cargo-deny" >&2; exit 1; }
	cargo deny --locked check bans licenses sources

bench: ## Measure this machine: ENGINE=sqlite|postgres|both, ARGS="--quick", PROFILE=release builds faster
	cargo build --locked --profile $(PROFILE) -p levqor
ifeq ($(ENGINE),sqlite)
	$(TARGET)/$(PROFILE)/levqor bench --engine sqlite $(ARGS)
else
	cargo build --locked -p levqor-testkit --bin levqor-testkit-pg
	$(PG) run --durable -- $(TARGET)/$(PROFILE)/levqor bench --engine $(ENGINE) $(ARGS)
endif

dist: ## Build the program as it is shipped: optimised, stripped, one file
	cargo build --locked --profile dist -p levqor
	@ls -lh $(TARGET)/dist/levqor

clean: ## Delete what was built; data files such as levqor.db stay
	cargo clean
