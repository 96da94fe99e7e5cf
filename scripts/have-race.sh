#!/usr/bin/env bash
# Prints -race where Go's race detector can be built (it needs cgo and a C compiler); else says on stderr how to get it.
set -eu
cd "$(dirname "$0")/.."
. scripts/lib.sh

cc=$(go env CC)
if [[ $(go env CGO_ENABLED) == 1 ]] && command -v "${cc%% *}" >/dev/null 2>&1; then
	echo -race
elif debian_root && apt_install "Go's race detector needs a C compiler" gcc libc6-dev; then
	echo -race
else
	echo "tests run without the race detector: it needs a C compiler (on Debian: apt-get install gcc libc6-dev)" >&2
fi
