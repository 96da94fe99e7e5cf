#!/usr/bin/env bash
# Makes the hosts of a batch job of Slurm the hosts of a session, where salloc is not to be used:
#
#   dipls run train.py --start-timeout 12h --hosts "exec[4] batch_hosts.sh -N 4 --gpus-per-node=8 -t 2:00:00 -- dipls join --env"
#
# What comes before -- are flags of sbatch. The job is the session's: it is cancelled when the session ends, however that ends.
set -euo pipefail
flags=()
while [ $# -gt 0 ] && [ "$1" != -- ]; do
	flags+=("$1")
	shift
done
[ $# -gt 1 ] || { echo "batch_hosts.sh: want flags of sbatch, --, and a command for each host" >&2; exit 2; }
shift
job=$(sbatch --parsable -J dipls --no-kill --ntasks-per-node=1 "${flags[@]}" --wrap "srun -u --no-kill --kill-on-bad-exit=0 --mpi=none $*")
job=${job%%;*} # the name of a cluster may follow
trap 'scancel "$job"' EXIT
trap 'exit 143' TERM HUP INT
echo "batch_hosts.sh: job $job" >&2
while [ -n "$(squeue -h -j "$job" -o %T 2>/dev/null)" ]; do
	sleep 5 &
	wait $! # a trap does not wait for it
done
