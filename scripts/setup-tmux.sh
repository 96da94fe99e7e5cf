#!/usr/bin/env bash
# Gets tmux for the tests of what stands on a terminal's screen: Debian's, where this is root on Debian. Without it those tests are skipped.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh

if ! command -v tmux >/dev/null 2>&1; then
	debian_root && apt_install "tests of what stands on a terminal's screen need it" tmux ||
		say "there is no tmux: tests of what stands on a terminal's screen are skipped"
fi
