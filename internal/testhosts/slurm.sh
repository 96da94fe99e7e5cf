#!/usr/bin/env bash
# A Slurm cluster on the hosts of hosts.sh: slurmctld on h0, slurmd on the others, two fake GPUs each; `hosts.sh slurm up`.
# Needs slurm-wlm and munge. Nothing is written outside of HOSTS_DIR and the hosts' own /run; all of it ends with the hosts.
set -euo pipefail
dir=${HOSTS_DIR:-/var/lib/dipls-hosts/0}
here=$(dirname "$(readlink -f "$0")")
hosts=$here/hosts.sh
on() { "$hosts" exec "$@"; }
names() { local d; for d in "$dir"/h[0-9]*; do basename "$d"; done | sort -V; }
until_ok() {
	local what=$1; shift
	for _ in $(seq 600); do "$@" >/dev/null 2>&1 && return; sleep 0.1; done
	echo "slurm.sh: $what" >&2
	on h0 sinfo -N -o '%N %T %E' >&2
	exit 1
}

munge_up() {
	on "$1" sh -c "mkdir -p -m 755 /run/munge && exec /usr/sbin/munged --key-file='$dir/slurm/munge.key' --socket=/run/munge/munge.socket.2 \
		--log-file=/run/munge/log --pid-file=/run/munge/pid --seed-file=/run/munge/seed"
}
slurmd_up() {
	# shellcheck disable=SC2016
	on "$1" sh -c 'mkdir -p /run/slurmd /run/gpu
		for i in 0 1; do [ -e /run/gpu/nvidia$i ] || mknod /run/gpu/nvidia$i c 1 3; done
		exec /usr/sbin/slurmd'
}

case "${1:-}" in
up)
	last=$(names | tail -n1); last=${last#h}
	mkdir -p "$dir/slurm/state"
	(umask 077; dd if=/dev/urandom of="$dir/slurm/munge.key" bs=1024 count=1 status=none)
	cat >"$dir/slurm/slurm.conf" <<END
ClusterName=dipls
SlurmctldHost=h0
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
StateSaveLocation=$dir/slurm/state
SlurmdSpoolDir=/run/slurmd
SlurmctldPidFile=/run/slurmctld.pid
SlurmdPidFile=/run/slurmd.pid
SlurmctldLogFile=/run/slurmctld.log
SlurmdLogFile=/run/slurmd.log
# no cgroups: they are the machine's
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
MpiDefault=none
SwitchType=switch/none
LaunchParameters=use_interactive_step
PrologFlags=Alloc
ReturnToService=2
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/backfill
SchedulerParameters=sched_min_interval=0,bf_interval=1
# quick enough for tests
SlurmdTimeout=10
SlurmctldTimeout=10
MessageTimeout=5
TCPTimeout=2
KillWait=4
InactiveLimit=0
MinJobAge=300
PreemptType=preempt/partition_prio
PreemptMode=CANCEL
GresTypes=gpu
NodeName=h[1-$last] CPUs=8 Sockets=1 CoresPerSocket=8 ThreadsPerCore=1 RealMemory=4000 Gres=gpu:2 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=60 PriorityTier=1 GraceTime=5 OverSubscribe=NO
PartitionName=urgent Nodes=ALL MaxTime=60 PriorityTier=10 PreemptMode=OFF
END
	echo "NodeName=h[1-$last] Name=gpu File=/run/gpu/nvidia[0-1]" >"$dir/slurm/gres.conf"
	for h in $(names); do munge_up "$h"; done
	on h0 /usr/sbin/slurmctld -c
	for h in $(names); do [ "$h" = h0 ] || slurmd_up "$h"; done
	# shellcheck disable=SC2016
	until_ok "the nodes are not idle (sinfo)" on h0 sh -c 'test "$(sinfo -h -p main -t idle -o %D)" = '"$last"
	;;
node) # after `hosts.sh on`
	munge_up "$2"
	slurmd_up "$2"
	until_ok "$2 is not idle" on h0 sh -c 'test "$(sinfo -h -p main -n "$0" -o %T)" = idle' "$2"
	;;
down)
	for h in $(names); do
		# shellcheck disable=SC2016
		on "$h" sh -c 'for p in /run/slurmd.pid /run/slurmctld.pid /run/munge/pid; do [ -e $p ] && kill $(cat $p); done; true' 2>/dev/null || true
	done
	;;
*) echo "slurm.sh up|down|node H" >&2; exit 2 ;;
esac
