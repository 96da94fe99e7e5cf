#!/usr/bin/env bash
# Makes sure that Node 20 or newer, npm and the extension's packages are there. Exits with 3, having printed why, if there is no such Node and
# none can be installed.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh

usable() { command -v npm >/dev/null 2>&1 && node -e 'process.exit(parseInt(process.versions.node) < 20 ? 1 : 0)' 2>/dev/null; }

if ! usable && debian_root; then
	apt_install "the VS Code extension is built and tested with Node" nodejs npm || true
fi
if ! usable; then
	echo "there is no Node 20 or newer with npm"
	exit 3
fi

cd vscode-extension
installed=node_modules/.installed-lock.json
if ! cmp -s package-lock.json "$installed"; then
	told "installing the extension's packages" npm ci --silent --no-audit --no-fund ||
		fail "npm could not install the packages of vscode-extension; try: cd vscode-extension && npm ci"
	cp package-lock.json "$installed"
fi
