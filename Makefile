# converge: what a person types. README.md says what each is for.
.PHONY: all build agent test test-xen unit demo lab bench soak clean check

TARGET := $(shell uname -m)-unknown-linux-gnu
AGENT := converge-agent-$(shell uname -m)

all: build

# The program, and beside it the agent that it pushes to hosts.
build: agent
	cargo build --release --bin converge
	cp target/agent/$(AGENT) target/release/

# Static, so that it runs on any Linux of this architecture.
agent:
	@scripts/needs build
	RUSTFLAGS="-C target-feature=+crt-static" cargo build --profile agent --no-default-features \
		--bin converge-agent --target $(TARGET) --target-dir target/static
	@mkdir -p target/agent target/debug target/release
	@cp target/static/$(TARGET)/agent/converge-agent target/agent/$(AGENT)
	@cp target/agent/$(AGENT) target/debug/

# Everything: unit tests, the program as its users see it, and the lab of real hosts where there can
# be one. What is left out is said, with the reason.
test: agent
	@scripts/test

# Real Xen and a real guest, emulated: for root, with a core to spare for a quarter of an hour.
test-xen: agent
	@scripts/test-xen

# Real hosts, our site on them, a power cut, and one `converge apply`.
demo: build
	@scripts/demo

# A lab for people: `make lab`, then `tests/lab/lab.sh ssh dom0`.
lab:
	@scripts/needs lab
	@tests/lab/lab.sh up dom0 vps0:off ctl && tests/lab/lab.sh site && tests/lab/lab.sh status
	@echo "Into a host: tests/lab/lab.sh ssh dom0.  The end: tests/lab/lab.sh down"

check:
	cargo fmt --check
	cargo clippy --all-targets -- -D warnings
	cargo clippy --no-default-features --bin converge-agent -- -D warnings

bench: build
	cargo bench --bench noop --bench load

# The proof, in two parts: random specs on random file systems, with a fault at every operation; and runs
# on hosts of the lab that are cut, killed, and without power. `SEEDS=n make soak` repeats one round of
# each; `MINUTES=n` is for how long each part goes on, from that seed on.
soak: build
	SOAK_SEED=$(SEEDS) SOAK_MINUTES=$(or $(MINUTES),$(if $(SEEDS),,10)) \
		cargo test --release --no-fail-fast --test soak --test soak_lab -- --nocapture every_

clean:
	cargo clean
