#!/usr/bin/env bash
# where-tools.sh WHAT SETUP COMMAND…: runs COMMAND, with what SETUP prints as its environment. If SETUP exits with 3, because a
# tool is missing and cannot be installed, WHAT is skipped with a message; with DIPLS_REQUIRE_E2E=1 that is an error.
set -euo pipefail

what=$1 setup=$2
shift 2
status=0
printed=$("$setup") || status=$?
case $status in
0)
	set -a
	eval "$printed"
	set +a
	exec "$@"
	;;
3)
	if [[ ${DIPLS_REQUIRE_E2E:-} == 1 ]]; then
		printf '%s cannot run: %s\n' "$what" "$printed" >&2
		exit 1
	fi
	printf '%s skipped: %s\n' "$what" "$printed"
	;;
*) exit "$status" ;;
esac
