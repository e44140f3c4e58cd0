# The verbs. `./dev VERB` sets up what a verb needs and then comes here; `make VERB` is for a machine that is set up.
# ARGS go to the program behind the verb: make run ARGS='--port 9000'.
ARGS ?=
PYTHON := $(if $(wildcard /usr/bin/python3),/usr/bin/python3,python3)

.PHONY: help run build program test deep bench interop soak lint format clean

help: ## list the verbs
	@sed -n 's/^\([a-z]*\):.*## /  \1\t/p' Makefile

run: program ## build, then serve every model in the models folder on http://127.0.0.1:8080
	@exec build/plinth serve --show-token $(ARGS)

build: program ## build the program: build/plinth

program: build/build.ninja
	@ninja -C build plinth

build/build.ninja:
	@meson setup build

test: ## lint, unit, kernel, vector and HTTP tests
	@$(PYTHON) tools/run-tests test $(ARGS)

deep: ## what takes long: sanitizers, fuzzing, a soak of two minutes
	@$(PYTHON) tools/run-tests deep $(ARGS)

bench: program ## speed beside llama.cpp, with the measured limits of this machine
	@bench/run $(ARGS)

interop: program ## GGUF files that Plinth writes, in llama.cpp: logits compared
	@bench/interop $(ARGS)

soak: program ## a mixed load on a server of its own; ARGS='--seconds 3600' for long
	@$(PYTHON) tools/soak $(ARGS)

lint: ## format, warnings of gcc and clang, arrows, headers, names, scripts
	@$(PYTHON) tools/lint $(ARGS)

format: ## rewrite the C sources in the house format
	@find src test fuzz bench -name '*.[ch]' | xargs clang-format-19 -i

clean:
	@rm -rf build build-*
