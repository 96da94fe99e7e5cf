#!/usr/bin/env bash
# Runs the agent's tests with the oldest and the newest packages that it supports, with a newer torch and with a newer Python:
#
#   oldest    the oldest installed Python, from 3.9 on, with the oldest ipython, pyzmq and cloudpickle
#   newest    the newest installed Python, with the newest of all three
#   torch     the newest torch from the index (its Linux wheels take 8 GB)
#   python    Debian's newest Python with its torch, in a suite that debootstrap unpacks: as root on Debian
#
#   scripts/compat.sh [NAME…] [-- ARGUMENTS OF PYTEST…]
#
# One that cannot be set up is skipped with a message; with DIPLS_REQUIRE_COMPAT=1 that is an error. Environments are in
# ~/.cache/dipls/compat. They are made anew when this file changes, and may be deleted.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh

oldest_packages=(ipython==8.0.1 "pyzmq==25.*" cloudpickle==2.2.0) # of what `tested` in ranks/python.go allows
newest_packages=(ipython pyzmq cloudpickle)
tools=(pytest hypothesis matplotlib numpy)
suite=forky

cache=${XDG_CACHE_HOME:-$HOME/.cache}/dipls/compat
stamp=$(cksum <"$0" | cut -d' ' -f1)
names=()
while (($#)) && [[ $1 != -- ]]; do names+=("$1"); shift; done
if (($#)); then shift; fi
((${#names[@]})) || names=(oldest newest torch python)

# pythons prints the installed interpreters that have venv, a line each: version and path, oldest first.
pythons() {
	local python
	{ compgen -c python3 | grep -E '^python3(\.[0-9]+)?$' | sort -u
	  ls -d "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.*/bin/python3 2>/dev/null || true; } |
		while read -r python; do
			"$python" -c 'import ensurepip, sys, venv
if sys.version_info >= (3, 9): print("%d.%02d" % sys.version_info[:2], sys.executable)' 2>/dev/null || true
		done | sort -u -k1,1
}

# environment NAME PYTHON PACKAGE… makes a virtual environment, unless it is there, and prints its interpreter.
environment() {
	local name=$1 python=$2 home=$cache/$1
	shift 2
	if [[ $(cat "$home/.stamp" 2>/dev/null) != "$stamp" ]]; then
		rm -rf "$home"
		say "making the environment $name with $("$python" --version)"
		"$python" -m venv "$home" >&2 && "$home/bin/python" -m pip install -q --disable-pip-version-check "$@" "${tools[@]}" >&2 || return
		echo "$stamp" >"$home/.stamp"
	fi
	echo "$home/bin/python"
}

# suite unpacks the Debian suite with Python, torch and what the tests need, unless it is there, and prints where.
unpacked_suite() {
	local home=$cache/$suite script=/usr/share/debootstrap/scripts
	debian_root || { say "a Debian suite is unpacked by root on Debian only"; return 1; }
	if [[ $(cat "$home/.stamp" 2>/dev/null) != "$stamp" ]]; then
		command -v debootstrap >/dev/null || apt_install "Debian's newest Python is unpacked by it" debootstrap >&2 || return
		[[ -e $script/$suite ]] || ln -s sid "$script/$suite"
		say "unpacking Debian's $suite with Python and torch into $home (some minutes, once)"
		rm -rf "$home"
		mkdir -p "$home"
		debootstrap --variant=minbase "$suite" "$home" >&2 || return
		cp /etc/resolv.conf /etc/hosts "$home/etc/"
		in_suite "$home" sh -c 'apt-get -o Acquire::Check-Valid-Until=false update -qq &&
			DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
				python3 python3-torch python3-ipython python3-zmq python3-cloudpickle python3-numpy python3-matplotlib \
				python3-pytest python3-hypothesis' >&2 || return
		echo "$stamp" >"$home/.stamp"
	fi
	echo "$home"
}

# in_suite HOME COMMAND… runs a command in a suite, which sees this directory as /project. The mounts end with it.
in_suite() {
	local home=$1
	shift
	mkdir -p "$home/project"
	unshare --mount --fork --pid --kill-child sh -eu -c 'home=$1; shift
		mount --bind . "$home/project"; mount --rbind /dev "$home/dev"; mount -t proc proc "$home/proc"; mount -t tmpfs tmpfs "$home/tmp"
		chroot "$home" "$@"; exit' sh "$home" "$@" # the shell stays, as the parent of what loses its own
}

failed=() left_out=() ipythons=()
for name in "${names[@]}"; do
	command=() dir=ranks/agent
	case $name in
	oldest) python=$(environment oldest "$(pythons | head -n 1 | cut -d' ' -f2-)" "${oldest_packages[@]}") && command=("$python") ;;
	newest) python=$(environment newest "$(pythons | tail -n 1 | cut -d' ' -f2-)" "${newest_packages[@]}") && command=("$python") ;;
	torch) python=$(environment torch "$(pythons | awk '$1 <= "3.13"' | tail -n 1 | cut -d' ' -f2-)" torch "${newest_packages[@]}") && command=("$python") ;;
	python) dir=. && home=$(unpacked_suite) && command=(in_suite "$home" env HOME=/tmp sh -c 'cd /project/ranks/agent && exec python3 "$@"' sh) ;;
	*) fail "there is no environment $name: oldest, newest, torch or python" ;;
	esac
	if ((!${#command[@]})); then
		left_out+=("$name")
		continue
	fi
	about='import importlib.metadata as m, platform
def version(name):
    try: return name + " " + m.version(name)
    except m.PackageNotFoundError: return "no " + name
print("Python " + platform.python_version(), *map(version, ("ipython", "pyzmq", "cloudpickle", "numpy", "torch")), sep=" · ")'
	echo "== $name: $("${command[@]}" -c "$about")"
	[[ $name != oldest && $name != newest ]] || ipythons+=("$python")
	if ! (cd "$dir" && "${command[@]}" -m pytest -q -p no:cacheprovider "$@"); then failed+=("$name"); fi
done

if ((${#ipythons[@]} == 2)); then
	echo "== the parser's table of IPython's magics, with oldest and newest"
	DIPLS_TEST_IPYTHONS=$(IFS=:; echo "${ipythons[*]}") go test -count 1 -run AgreeWithIPython ./cells || failed+=("the table of magics")
fi
if ((${#left_out[@]})); then
	echo "could not be had, and so was not tried: ${left_out[*]}"
	[[ -z ${DIPLS_REQUIRE_COMPAT:-} ]] || exit 1
fi
if ((${#failed[@]})); then
	echo "tests failed with: ${failed[*]}"
	exit 1
fi
