#!/usr/bin/env bash
# Gets a real VS Code and a browser for the extension's tests, and prints where they are, as assignments for a shell:
#
#   E2E_NODE         the Node that code-server wants
#   E2E_CODE_SERVER  its entry point: VS Code on a server, here built from npm into a cache folder outside the tree
#   E2E_CHROMIUM     a Chromium or Chrome
#
# Exits with 3, having printed why, where one of them is missing and cannot be installed.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh

code_server=4.139.1 # is VS Code 1.139.1
node=24.21.0        # the major version is the one that code-server wants

missing() { echo "$*"; exit 3; }

[[ -r /proc/self/environ ]] || missing "what is left running is found in Linux's /proc, and this is $(uname)"

browser() {
	local name
	for name in "${E2E_CHROMIUM:-}" chromium chromium-browser google-chrome google-chrome-stable; do
		if [[ -n $name ]] && command -v "$name"; then return 0; fi
	done
	return 1
}
if ! browser >/dev/null && debian_root; then
	apt_install "VS Code is tested in a browser" chromium fonts-dejavu-core || true
fi
chromium=$(browser) || missing "there is no chromium or google-chrome on PATH (on Debian: apt-get install chromium)"

scripts/setup-node.sh
platform=$(node -p 'process.platform + "-" + process.arch')
# The package `node` installs this one by a script, which npm may be told not to run. It holds the headers too.
node_package=node-$platform

cache=${XDG_CACHE_HOME:-$HOME/.cache}/dipls/e2e
home=$cache/code-server-$code_server-node-$node-$platform
modules=node_modules
entry=$modules/code-server/out/node/entry.js

spaceless() { if [[ ${TMPDIR:-} == /* && $TMPDIR != *[[:space:]]* ]]; then echo "$TMPDIR"; else echo /tmp; fi; }

build() { # in an empty folder
	echo '{"private": true}' >package.json
	npm install --silent --no-audit --no-fund "$node_package@$node" || return
	local runtime=$PWD/$modules/$node_package
	# Its native modules are compiled for the Node that runs npm, with that one's headers.
	PATH=$runtime/bin:$PATH npm_config_nodedir=$runtime npm_config_jobs=max \
		npm install --loglevel error --no-audit --no-fund --ignore-scripts=false "code-server@$code_server" || return
	"$runtime/bin/node" "$entry" --config "$PWD/none.yaml" --version
}

if [[ ! -e $home ]]; then
	if debian_root && ! dpkg -s g++ make python3 pkg-config libkrb5-dev >/dev/null 2>&1; then
		apt_install "code-server is built with them" g++ make python3 pkg-config libkrb5-dev || true
	fi
	say "building code-server $code_server in $cache (some minutes, once)"
	mkdir -p "$cache"
	# It is built under a path without spaces, since the build files of native modules split flags at them. Then it is copied beside its
	# place and renamed, so that an unfinished copy never passes for a finished one.
	work=$(TMPDIR=$(spaceless) mktemp -d) part=$(mktemp -d "$cache/part.XXXXXX")
	trap 'rm -rf "$work" "$part"' EXIT
	if ! (cd "$work" && build >build.log 2>&1); then
		tail -n 30 "$work/build.log" >&2
		missing "code-server $code_server could not be installed from npm: it needs a C++ compiler, make, python3 and Kerberos' headers" \
			"(on Debian: apt-get install g++ make python3 pkg-config libkrb5-dev)"
	fi
	cp -a "$work/." "$part"
	if [[ ! -e $home ]]; then mv "$part" "$home"; fi # else another run was faster
fi

printf 'E2E_NODE=%q\nE2E_CODE_SERVER=%q\nE2E_CHROMIUM=%q\n' "$home/$modules/$node_package/bin/node" "$home/$entry" "$chromium"
