#!/usr/bin/env bash
# Gets what tests with several hosts need (internal/testhosts): an sshd, Slurm, Open MPI and some shells. Only as root on Debian. Without them those
# tests are skipped, so nothing here fails the setup; with DIPLS_REQUIRE_HOSTS=1 the tests fail.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh

packages=(openssh-server iptables iproute2 slurm-wlm munge openmpi-bin csh fish)
missing() { { dpkg-query -W -f '${db:Status-Status}\n' "${packages[@]}" 2>&1 || true; } | grep -qvx installed; }

if debian_root; then
	if missing; then
		apt_install "tests with several hosts need them" "${packages[@]}" || say "tests with several hosts are skipped: ${packages[*]} could not be installed"
	fi
else
	say "tests with several hosts are skipped: they need root on Debian"
fi
touch .venv/.hosts
