# make demo   the main job on this machine, nothing to set up: server, SSH fleet, application, one deployment to three infrastructures
# make test   everything that must pass; installs what the tests stand on
# make check  the fast part of it: format, lints, unit tests
# make build  the binary: target/release/manifold
# make verify the shipped self-test: SIGKILL at every named crash point; DATABASE_URL=postgres://… tries it on PostgreSQL
# make bench  what the product costs, as ratios to bare programs measured in the same run (docs/performance.md)

CARGO ?= cargo
ONCE ?=
DATABASE_URL ?=

.PHONY: build demo test check parts verify bench

build:
	$(CARGO) build --release --locked --bin manifold

demo: build
	$(or $(CARGO_TARGET_DIR),target)/release/manifold demo $(if $(ONCE),--once)

# One profile for the product and its tests, and one build: the tests bring the binary that they start.
test: parts
	$(CARGO) xtask tidy
	$(CARGO) xtask test

check:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	$(CARGO) xtask tidy --fast
	$(CARGO) test --workspace --locked --lib

# Installs or builds the programs that the tests talk to; without the rights it prints the one command to run.
parts:
	$(CARGO) xtask parts

verify: build
	$(or $(CARGO_TARGET_DIR),target)/release/manifold verify --crash $(if $(DATABASE_URL),--database-url $(DATABASE_URL))

bench:
	$(CARGO) xtask bench
