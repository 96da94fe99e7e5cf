# Shared by the setup scripts, which source it.

say() { printf 'setup: %s\n' "$1" >&2; }
fail() { printf 'setup: %s\n' "$*" >&2; exit 1; }

debian_root() { [[ -e /etc/debian_version && $(id -u) == 0 ]] && command -v apt-get >/dev/null 2>&1; }
apt_install() {
	say "installing $* from Debian"
	apt-get update -qq >&2 && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}
