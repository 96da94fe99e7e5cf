#!/usr/bin/env bash
# Prints -race where Go's race detector can be built (it needs cgo and a C compiler); else says on stderr how to get it.
set -eu
cc=$(go env CC)
if [[ $(go env CGO_ENABLED) == 1 ]] && command -v "${cc%% *}" >/dev/null 2>&1; then
	echo -race
elif [[ $(id -u) == 0 ]] && command -v apt-get >/dev/null 2>&1 &&
	apt-get update -qq >&2 && apt-get install -y -qq gcc libc6-dev >&2; then
	echo -race
else
	echo "tests run without the race detector: it needs a C compiler (on Debian: apt-get install gcc libc6-dev)" >&2
fi
