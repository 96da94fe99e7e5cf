#!/usr/bin/env bash
# Test hosts on one machine: each has its own network, process ids, monotonic clock, boot id, hostname, /etc, /tmp, /var/tmp, /run and
# /dev/shm, and an sshd; /home (and all else of the file system) is shared, as over NFS. They share a private switch that is in a network
# namespace, too: nothing of it is to be seen from outside, and nothing gets out. Needs root, iproute2 and util-linux 2.38; for ssh
# openssh-server, for cut, firewall and delay iptables, for delay python3 as well. root's home is /home/root, and user dip's /home/dip.
#
#   hosts.sh up N              h0 (where the server runs) and h1 … hN; replaces those that were there
#   hosts.sh down              all of them, and all that runs there
#   hosts.sh run N CMD…        up, CMD on h0, down; the exit status is CMD's
#   hosts.sh exec [-u USER] H CMD…   in the caller's working directory (if H has it), with the caller's environment; ends by SIGTERM when this is killed
#   hosts.sh status
#   hosts.sh cut H [H2]        nothing passes between H and the others (or H2), without a word to either end; `mend H` undoes it
#   hosts.sh mend H
#   hosts.sh firewall H [FROM:TO]   no new connections into H, but for ssh (and ports FROM-TO); open ones go on. `mend H` undoes it
#   hosts.sh delay H MS [JITTER_MS [LOSS_%]]   of what H receives (MS 0 undoes it); the kernel has no netem, so it goes by NFQUEUE
#   hosts.sh rate H RATE|off   of what H sends, as tc says it: 100mbit
#   hosts.sh crash H           all processes at once, as SIGKILL: peers see their connections closed
#   hosts.sh off H             power is gone: cut, then crash: peers see nothing
#   hosts.sh on H              up again, with empty /tmp, /run, …
#   hosts.sh slurm up|down     munged and slurmd everywhere, slurmctld on h0 (package slurm-wlm)
#
# HOSTS_DIR (default /var/lib/dipls-hosts/0) holds the state; several sets of hosts may live at the same time, each in a directory
# of its own, and have the same addresses. HOSTS_OWNER=PID: all goes down when that process has ended, however it ended.
# HOSTS_PRIVATE: more directories that each host has for itself (empty). HOSTS_SHARE: directories that all hosts and we have in common
# although they are below a private one, such as a test's folder in /tmp. Both are lists as PATH is one. HOSTS_RATE: `rate` of each host.
set -euo pipefail
umask 022
self=$(readlink -f "$0")
here=$(dirname "$self")
dir=${HOSTS_DIR:-/var/lib/dipls-hosts/0}
net=10.77.0
die() { echo "hosts.sh: $*" >&2; exit 1; }

# A process is known by pid and start time: nothing else is ever signalled.
started() {
	local stat fields
	stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
	read -ra fields <<<"${stat##*) }"
	echo "${fields[19]}"
}
note() { echo "$1 $(started "$1")" >"$2.new"; mv "$2.new" "$2"; }
alive() { # FILE -> pid
	local pid time
	read -r pid time 2>/dev/null <"$1" || return 1
	[ "$(started "$pid")" = "$time" ] && echo "$pid"
}
pid_of() { alive "$dir/$1/pid" || die "there is no host $1 (hosts.sh status)"; }
in_net() { local h=$1; shift; nsenter -t "$(pid_of "$h")" -n "$@"; } # its network, our files
names() { local d; for d in "$dir"/h[0-9]*; do [ -d "$d" ] && basename "$d"; done | sort -V; }
kill_wait() { # FILE SIGNAL
	local pid
	pid=$(alive "$1") || return 0
	kill "-$2" "$pid" 2>/dev/null || return 0
	for _ in $(seq 200); do alive "$1" >/dev/null || return 0; sleep 0.02; done
	[ "$2" = KILL ] || kill_wait "$1" KILL
}

down() {
	local h
	[ "$(alive "$dir/owner.pid" || true)" = $$ ] || kill_wait "$dir/owner.pid" TERM
	for h in $(names); do kill_wait "$dir/$h/pid" KILL; done
	kill_wait "$dir/switch.pid" KILL
	[ ! -e "$dir" ] || [ -e "$dir/settings" ] || die "$dir is not ours"
	rm -rf "$dir"
}

up() {
	local n=$1 i
	[[ $n =~ ^[0-9]+$ && $n -ge 1 && $n -le 200 ]] || die "up N: 1 to 200 hosts"
	[ "$(id -u)" = 0 ] || die "needs root"
	down
	mkdir -p "$dir"
	printf '%s=%q\n' HOSTS_PRIVATE "${HOSTS_PRIVATE:-}" HOSTS_SHARE "${HOSTS_SHARE:-}" HOSTS_TMPFS "${HOSTS_TMPFS:-2g}" >"$dir/settings"
	mkdir -p "$dir/home/dip" "$dir/home/root" "$dir/etc" "$dir/ssh" "$dir/slurm"
	{ echo "127.0.0.1 localhost"; for i in $(seq 0 "$n"); do echo "$net.$((10 + i)) h$i"; done; } >"$dir/etc/hosts"
	: >"$dir/etc/resolv.conf"
	{ sed -n '/^dip:/d; s,^\(root:.*\):/root:,\1:/home/root:,; p' /etc/passwd; echo 'dip:x:1977:1977:dipls test:/home/dip:/bin/bash'; } >"$dir/etc/passwd"
	{ grep -v '^dip:' /etc/group; echo 'dip:x:1977:'; } >"$dir/etc/group"
	chown 1977:1977 "$dir/home/dip"
	# The switch: a bridge in a network namespace that lives as long as this process.
	setsid unshare --net sleep infinity </dev/null >/dev/null 2>&1 &
	local switch=$!
	disown
	wait_for "switch" own_net "$switch"
	note "$switch" "$dir/switch.pid"
	nsenter -t "$switch" -n sh -c 'ip link add br0 type bridge stp_state 0 forward_delay 0 && ip link set br0 up'
	ssh_files "$n"
	for i in $(seq 0 "$n"); do host_up "h$i"; done
	if [ -n "${HOSTS_RATE:-}" ]; then for i in $(seq 0 "$n"); do HOSTS_DIR=$dir "$self" rate "h$i" "$HOSTS_RATE"; done; fi
	if [ -n "${HOSTS_OWNER:-}" ]; then
		HOSTS_DIR=$dir setsid bash "$self" watch "$HOSTS_OWNER" </dev/null >/dev/null 2>&1 &
		note $! "$dir/owner.pid"
		disown
	fi
}
own_net() { [ -e "/proc/$1/ns/net" ] && [ "$(readlink "/proc/$1/ns/net")" != "$(readlink /proc/self/ns/net)" ]; }
wait_for() { local what=$1; shift; for _ in $(seq 4000); do "$@" && return; sleep 0.01; done; die "$what did not come up"; }

ssh_files() {
	local i
	ssh-keygen -q -t ed25519 -N '' -C dipls-test -f "$dir/ssh/id_ed25519"
	cp "$dir/ssh/id_ed25519.pub" "$dir/ssh/authorized_keys"
	ssh-keygen -q -t ed25519 -N '' -f "$dir/ssh/ssh_host_ed25519_key"
	for i in $(seq 0 "$1"); do echo "h$i,$net.$((10 + i)) $(cut -d' ' -f1,2 "$dir/ssh/ssh_host_ed25519_key.pub")"; done >"$dir/ssh/ssh_known_hosts"
	install -o 1977 -m 600 "$dir/ssh/id_ed25519" "$dir/ssh/id_dip"
	cat >"$dir/ssh/sshd_config" <<END
HostKey /etc/ssh/ssh_host_ed25519_key
AuthorizedKeysFile /etc/ssh/authorized_keys
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
UseDNS no
MaxStartups 100:30:200
MaxSessions 64
PrintMotd no
PidFile /run/sshd.pid
Subsystem sftp internal-sftp
AcceptEnv LANG LC_*
END
	cat >"$dir/ssh/ssh_config" <<END
Match exec "test \$(id -u) = 0"
  IdentityFile /etc/ssh/id_ed25519
Match exec "test \$(id -u) != 0"
  IdentityFile /etc/ssh/id_dip
Host *
  GlobalKnownHostsFile /etc/ssh/ssh_known_hosts
  UserKnownHostsFile /dev/null
  StrictHostKeyChecking yes
  BatchMode yes
END
}

host_up() {
	local h=$1 i=${1#h} switch pid
	switch=$(alive "$dir/switch.pid") || die "no switch: hosts.sh up N"
	mkdir -p "$dir/$h"
	rm -f "$dir/$h/ready"
	HOSTS_SELF=$dir/$h setsid unshare --net --uts --ipc --mount --pid --fork --kill-child=KILL --propagation private \
		--time --monotonic $((i * 100000)) --boottime $((i * 100000)) \
		bash "$self" init "$h" </dev/null >"$dir/$h/log" 2>&1 &
	disown
	wait_for "$h" child_of $! "$dir/$h/pid"
	pid=$(alive "$dir/$h/pid") || die "$h has ended: $(tail -n1 "$dir/$h/log")"
	# The same MAC for the same host, so that peers need not ask anew when it comes back.
	nsenter -t "$switch" -n ip link del "$h" 2>/dev/null || true
	nsenter -t "$switch" -n ip link add "$h" type veth peer name eth0 address "02:00:00:00:00:$(printf %02x $((10 + i)))" netns "$pid"
	nsenter -t "$switch" -n ip link set "$h" master br0 up
	nsenter -t "$pid" -n sh -c "ip link set lo up; ip addr add $net.$((10 + i))/24 dev eth0; ip link set eth0 up"
	wait_for "$h ($(tail -n1 "$dir/$h/log"))" test -e "$dir/$h/ready"
	if [ -x /usr/sbin/sshd ] && [ -z "${HOSTS_NO_SSH:-}" ]; then
		nsenter -t "$pid" -a sh -c 'exec /usr/sbin/sshd -E /run/sshd.log'
		# It goes to the background before it listens, and writes this file after that.
		wait_for "the sshd of $h" nsenter -t "$pid" -m test -s /run/sshd.pid
	fi
}
child_of() { # UNSHARE'S-PID FILE: the first process of the host is its only child
	local pid
	pid=$(cat "/proc/$1/task/$1/children" 2>/dev/null) && [ -n "${pid// /}" ] && note "${pid%% *}" "$2"
}

# The host's process 1: mounts what is its own, then reaps.
init() {
	local h=$1 d private shared
	# shellcheck disable=SC1091
	. "$dir/settings"
	IFS=: read -ra private <<<"$HOSTS_PRIVATE"
	IFS=: read -ra shared <<<"$HOSTS_SHARE"
	mount -t proc proc /proc
	# /sys shows the network that mounts it; the cgroups stay what they are. It is mounted in a folder of this host's: others come up at the same time.
	local sys=$dir/$h/sys
	mkdir -p "$sys"
	mount -t sysfs sysfs "$sys" && mount --rbind /sys/fs/cgroup "$sys/fs/cgroup" && mount --move "$sys" /sys
	mount --bind "$dir/home" /home
	# An /etc of its own: files mounted over single ones would come off when a package's installation replaces those.
	rm -rf "${dir:?}/$h/etc" "$dir/$h/work"; mkdir -p "$dir/$h/etc" "$dir/$h/work"
	mount -t overlay -o "lowerdir=/etc,upperdir=$dir/$h/etc,workdir=$dir/$h/work" overlay /etc
	for d in hosts resolv.conf passwd group; do rm -f "/etc/$d"; cp "$dir/etc/$d" "/etc/$d"; done
	rm -f /etc/hostname; echo "$h" >/etc/hostname
	tr -d - </proc/sys/kernel/random/uuid >/etc/machine-id
	cp /proc/sys/kernel/random/uuid /etc/boot_id && mount --bind /etc/boot_id /proc/sys/kernel/random/boot_id
	for d in ssh slurm; do rm -rf "/etc/${d:?}"; ln -s "$dir/$d" "/etc/$d"; done
	local keep=/mnt/.hosts-keep i=0
	mkdir -p $keep && mount -t tmpfs keep $keep
	for d in "${shared[@]}"; do mkdir "$keep/$i" && mount --bind "$d" "$keep/$i"; i=$((i + 1)); done
	for d in /tmp /var/tmp /run /dev/shm "${private[@]}"; do
		mkdir -p "$d"
		mount -t tmpfs -o "size=$HOSTS_TMPFS,mode=$([ "$d" = /run ] && echo 755 || echo 1777)" "$h${d//\//-}" "$d"
	done
	i=0
	for d in "${shared[@]}"; do mkdir -p "$d" && mount --bind "$keep/$i" "$d"; i=$((i + 1)); done
	umount -R $keep
	mkdir -p /run/sshd /run/lock /run/user/1977
	chmod 1777 /run/lock; chown 1977:1977 /run/user/1977; chmod 700 /run/user/1977
	hostname "$h"
	: >"$HOSTS_SELF/ready"
	trap 'exit 0' TERM
	cd /
	unset HOSTS_SELF
	while :; do sleep infinity & wait $! || true; done # bash reaps the orphans, too
}

enter() {
	local user=root h pid
	if [ "$1" = -u ]; then user=$2; shift 2; fi
	h=$1; shift
	pid=$(pid_of "$h")
	# nsenter passes no signals on: when it ends, so does CMD.
	local as=(setpriv --pdeathsig TERM) env=(env -u XDG_RUNTIME_DIR -u XDG_CACHE_HOME -u XDG_STATE_HOME -u VIRTUAL_ENV "HOSTNAME=$h" TMPDIR=/tmp HOME=/home/root)
	if [ "$user" != root ]; then
		as+=("--reuid=$user" "--regid=$user" --init-groups)
		env+=(HOME=/home/"$user" USER="$user" LOGNAME="$user" XDG_RUNTIME_DIR=/run/user/1977)
	fi
	# shellcheck disable=SC2016
	exec nsenter -t "$pid" -a "${as[@]}" "${env[@]}" sh -c 'cd "$0" 2>/dev/null || cd /; exec "$@"' "$PWD" "$@"
}

tables() { local h=$1; shift; in_net "$h" iptables -w "$@"; }
case "${1:-help}" in
up) up "$2" ;;
down) down ;;
run)
	n=$2; shift 2
	trap down EXIT
	up "$n"
	HOSTS_DIR=$dir "$self" exec h0 "$@"
	;;
exec) shift; enter "$@" ;;
init) init "$2" ;;
watch) # for HOSTS_OWNER
	while grep -qs '^State:[[:space:]]*[^ZX]' "/proc/$2/status"; do sleep 0.2; done
	down
	;;
status)
	[ -d "$dir" ] || { echo "no hosts in $dir"; exit 0; }
	for h in $(names); do
		if p=$(alive "$dir/$h/pid"); then
			echo "$h $net.$((10 + ${h#h})) up, process 1 is $p, $(nsenter -t "$p" -a ps -e -o pid= | wc -l) processes"
		else
			echo "$h off"
		fi
	done
	;;
cut)
	if [ -n "${3:-}" ]; then
		peer=$net.$((10 + ${3#h}))
		tables "$2" -I INPUT -s "$peer" -j DROP; tables "$2" -I OUTPUT -d "$peer" -j DROP
	else
		tables "$2" -I INPUT -i eth0 -j DROP; tables "$2" -I OUTPUT -o eth0 -j DROP
	fi
	;;
firewall)
	tables "$2" -A INPUT -i lo -j ACCEPT
	tables "$2" -A INPUT -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT
	tables "$2" -A INPUT -p tcp --dport 22 -j ACCEPT
	[ -z "${3:-}" ] || tables "$2" -A INPUT -p tcp --dport "$3" -j ACCEPT
	tables "$2" -A INPUT -j "${HOSTS_FIREWALL:-DROP}"
	;;
mend) tables "$2" -F INPUT; tables "$2" -F OUTPUT ;;
delay)
	tables "$2" -t mangle -F PREROUTING
	kill_wait "$dir/$2/delay.pid" TERM
	[ "$3" = 0 ] && [ "${5:-0}" = 0 ] && exit 0
	nsenter -t "$(pid_of "$2")" -n setsid python3 -I "$here/delay.py" "$3" "${4:-0}" "${5:-0}" </dev/null >"$dir/$2/delay.log" 2>&1 &
	note $! "$dir/$2/delay.pid"
	disown
	wait_for "delay.py" grep -q ready "$dir/$2/delay.log"
	# Where packets come in: one that is held where it goes out counts against its socket (TCP small queues).
	tables "$2" -t mangle -A PREROUTING -i eth0 -j NFQUEUE --queue-num 1 --queue-bypass
	;;
rate)
	in_net "$2" tc qdisc del dev eth0 root 2>/dev/null || true
	[ "$3" = off ] || in_net "$2" tc qdisc add dev eth0 root tbf rate "$3" burst 256kb latency 100ms
	;;
crash) kill_wait "$dir/$2/pid" KILL ;;
off)
	switch=$(alive "$dir/switch.pid")
	nsenter -t "$switch" -n ip link set "$2" down
	kill_wait "$dir/$2/pid" KILL
	;;
on) alive "$dir/$2/pid" >/dev/null && die "$2 is on"; host_up "$2" ;;
slurm) exec "$here/slurm.sh" "${@:2}" ;;
*) sed -n '2,/^set /{/^set /!s/^# \{0,1\}//p}' "$self" ;;
esac
