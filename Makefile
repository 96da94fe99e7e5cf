# Everything here sets itself up: a fresh machine needs Go, Python 3 and make.
# Paths may hold spaces, so nothing below lists files by make's own functions.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

VENV_STAMP := .venv/.ready
NEOVIM_STAMP := .venv/.neovim
HOSTS_STAMP := .venv/.hosts
TMUX_STAMP := .venv/.tmux
RACE = $(shell scripts/have-race.sh)

.PHONY: help setup build vsix demo test test-go test-python test-vscode e2e screenshots lint fuzz stress compat bench bench-quick bench-setup bench-lsp bench-fanout clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

setup: $(VENV_STAMP) $(NEOVIM_STAMP) $(HOSTS_STAMP) $(TMUX_STAMP) ## make .venv: Python with torch and what the agent needs, and editors and hosts for the tests

$(VENV_STAMP): ranks/agent/requirements-dev.txt ranks/agent/requirements-apps.txt scripts/setup-python.sh
	@scripts/setup-python.sh

$(NEOVIM_STAMP): $(VENV_STAMP) scripts/requirements-neovim.txt scripts/setup-neovim.sh
	@scripts/setup-neovim.sh

$(HOSTS_STAMP): $(VENV_STAMP) scripts/setup-hosts.sh
	@scripts/setup-hosts.sh

$(TMUX_STAMP): $(VENV_STAMP) scripts/setup-tmux.sh
	@scripts/setup-tmux.sh
	@touch $@

build: ## make bin/dipls
	@mkdir -p bin
	@. scripts/lib.sh && told "building bin/dipls" go build -o bin/dipls ./cmd/dipls

vsix: ## make vscode-extension/dipls-PLATFORM.vsix
	@scripts/setup-node.sh
	cd vscode-extension && npm run --silent package

demo: $(VENV_STAMP) build ## train a DDP model on 4 CPU ranks
	bin/dipls run examples/train_ddp.py --python .venv/bin/python -n 4

test: setup build test-python test-go test-vscode e2e ## every test

test-python: setup
	cd ranks/agent && ../../.venv/bin/python -m pytest -q

test-go: setup
	DIPLS_TEST_PYTHON="$(CURDIR)/.venv/bin/python" go test -timeout 30m $(RACE) ./...

test-vscode:
	@scripts/where-tools.sh "tests of the VS Code extension" scripts/setup-node.sh npm --prefix vscode-extension test --silent

e2e: setup ## the extension in a real VS Code in a real browser
	@scripts/where-tools.sh "e2e tests" scripts/setup-e2e.sh scripts/e2e.sh

screenshots: setup ## the same, and its pictures into docs/images
	@E2E_SCREENSHOTS="$(CURDIR)/docs/images" DIPLS_REQUIRE_E2E=1 scripts/where-tools.sh "screenshots" scripts/setup-e2e.sh scripts/e2e.sh

lint: setup ## linters and format checks
	@out=$$(gofmt -l cells cmd diagnose dipexec internal lsp ranks session bench 2>/dev/null || true); if [[ -n $$out ]]; then echo "gofmt -w $$out"; exit 1; fi
	go vet ./...
	go tool staticcheck ./...
	@scripts/where-tools.sh "lint of the VS Code extension" scripts/setup-node.sh npm --prefix vscode-extension run --silent check
	cd ranks/agent && ../../.venv/bin/ruff check . ../../examples ../../bench ../../export ../../internal && ../../.venv/bin/ruff format --check . ../../examples ../../bench ../../export ../../internal

fuzz: ## fuzz the cell parser and LSP's framing for a minute each
	go test ./cells -run '^$$' -fuzz FuzzParse -fuzztime 60s
	go test ./lsp/rpc -run '^$$' -fuzz FuzzFraming -fuzztime 60s

stress: setup build ## deaths, interrupts, floods and faults of hosts at random moments, many times: two hours
	DIPLS_STRESS=1 DIPLS_TEST_PYTHON="$(CURDIR)/.venv/bin/python" go test -count 1 -timeout 300m -run Stress ./...
	cd ranks/agent && DIPLS_STRESS=1 ../../.venv/bin/python -m pytest -q -k stress

compat: ## the agent's tests with the oldest and newest packages, a newer torch and a newer Python: half an hour
	@scripts/compat.sh

bench: bench-setup ## compare with all peers in one run; writes bench/RESULTS.md and results.json
	.venv-bench/bin/python bench/run.py --out bench

bench-quick: bench-setup ## the same in four minutes, with small sizes; writes into bin/bench-quick
	.venv-bench/bin/python bench/run.py --plan quick --out bin/bench-quick

bench-setup: setup build
	@bench/setup.sh
	go build -o bin/figures ./bench/figures

bench-lsp: ## a keystroke in a file of 120,000 lines
	go test ./bench/keystroke -run '^$$' -bench . -benchtime 1000x

bench-fanout: ## what a pool of hundreds of fake ranks costs the server
	go test ./bench/fanout -run '^$$' -bench . -benchtime 20x

clean: ## remove what was built, keep .venv
	rm -rf bin dist vscode-extension/dist vscode-extension/server vscode-extension/*.vsix
