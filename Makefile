# What people run; .ci/run runs the same. Each recipe is a script, so that it can be read and run by itself.
.PHONY: help setup check lint test e2e holds kills demo score bench fuzz soak

help:         ## This list
	@grep -E '^[a-z]+: .*##' Makefile | sed -E 's/: .*## /	/' | expand -t 10

setup:        ## Install what tests and demo need: WASM target, Python clients, Hermes, Chromium, browser build tools
	@scripts/setup.sh

check:        ## Before a commit: format, lint, unit and integration tests with the built-in agent
	@scripts/check.sh

lint:         ## Format, clippy, licences and sources, documentation; warnings are errors
	@scripts/lint.sh

test:         ## Everything, real agents, clients and browser included; installs what is missing
	@scripts/test.sh

e2e:          ## The real agents through every case, and the table of docs/agents.md; AGENTS=latest takes the newest releases
	@CODA_AGENTS=$(AGENTS) CODA_AGENTS_TABLE=docs/agents.md tests/e2e/agents.sh

holds:        ## How long each real agent bears a held call, a quarter of an hour, and its table in docs/agents.md
	@CODA_AGENTS_TABLE=docs/agents.md tests/e2e/agents.sh --measure-holds

kills:        ## The kill matrix with 200 kills and power cuts; CODA_KILLS and CODA_KILL_SEED say otherwise
	@CODA_KILLS=$${CODA_KILLS:-200} cargo test --locked -p coda --test it kill:: -- --nocapture

demo:         ## The main job, played with the commands a user types
	@scripts/demo.sh

score:        ## How well the bundled policies judge labelled rows: make score CORPORA=DIR
	@CORPORA="$(CORPORA)" scripts/score.sh

bench:        ## Benchmarks of the release build, with goals met and missed; takes minutes, on a quiet machine
	@scripts/bench.sh

fuzz:         ## Ten minutes of libFuzzer for each reader of bytes from outside (CODA_FUZZ_S: seconds)
	@scripts/fuzz.sh

soak:         ## Half an hour of mixed work: memory, file handles and threads must stay flat (CODA_SOAK_S: seconds)
	@scripts/soak.sh
