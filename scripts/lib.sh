# Shared by the setup scripts, which source it.

say() { printf 'setup: %s\n' "$1" >&2; }
fail() { printf 'setup: %s\n' "$*" >&2; exit 1; }

# told WHAT COMMAND…: runs a command that may take long, and says so: what it does, for how long, and only if it fails what it has printed.
told() {
	local what=$1 status=0 log ticker
	shift
	log=$(mktemp)
	say "$what …"
	tick "$what" >/dev/null &
	ticker=$!
	"$@" >"$log" 2>&1 || status=$?
	kill "$ticker" 2>/dev/null || true
	wait "$ticker" 2>/dev/null || true
	if [[ -t 2 ]]; then printf '\r\e[K' >&2; fi
	if ((status)); then tail -n 20 "$log" >&2; fi
	rm -f "$log"
	return "$status"
}

tick() { # until this script has ended
	local seconds=0
	while sleep 1 && kill -0 $$ 2>/dev/null; do
		seconds=$((seconds + 1))
		if [[ -t 2 ]]; then
			printf '\r\e[Ksetup: %s: %d s' "$1" "$seconds" >&2
		elif ((seconds % 20 == 0)); then
			say "$1: $seconds s so far"
		fi
	done
}

debian_root() { [[ -e /etc/debian_version && $(id -u) == 0 ]] && command -v apt-get >/dev/null 2>&1; }

# apt_install WHY PACKAGE…: installs packages for the whole system, after it has said so. A person at a terminal is asked.
apt_install() {
	local why=$1 answer=
	shift
	if [[ -n ${DIPLS_NO_APT:-} ]]; then
		say "not installed, since DIPLS_NO_APT is set: $* ($why)"
		return 1
	fi
	say "apt-get is about to install for the whole system: $*"
	say "    $why. To do without: DIPLS_NO_APT=1"
	if [[ -t 0 && -t 2 && -z ${CI:-} ]]; then
		read -r -p "setup: install them? [Y/n] " answer || return 1
		[[ $answer != [nN]* ]] || return 1
	fi
	told "installing $* from Debian" apt_get "$@"
}
apt_get() { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@"; }
