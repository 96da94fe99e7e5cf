#!/usr/bin/env bash
# Makes .venv-bench: it sees .venv's packages, and adds the peers that bench/ measures and what they need. .venv itself, which the tests
# use, is not changed.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh

stamp=.venv-bench/.ready
[[ $stamp -nt .venv/.ready && $stamp -nt bench/requirements.txt && $stamp -nt bench/setup.sh ]] && exit 0

rm -rf .venv-bench
.venv/bin/python -m venv --system-site-packages .venv-bench
# A virtual environment sees only its base interpreter's packages, not those of another virtual environment.
packages='import sysconfig; print(sysconfig.get_path("purelib"))'
.venv/bin/python -c "$packages" >"$(.venv-bench/bin/python -c "$packages")/parent-environment.pth"

# One by one: a peer that cannot be installed is a line of the table, not the end of the run.
while read -r requirement; do
	[[ -z $requirement || $requirement == \#* ]] && continue
	.venv-bench/bin/python -m pip install -q --disable-pip-version-check "$requirement" ||
		say "$requirement could not be installed: its figures will be missing"
done <bench/requirements.txt
touch "$stamp"
