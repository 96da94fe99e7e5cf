"""torchrun: the same training script under torch's own launcher."""

import sys

import training
from samples import attempt, emit, plan, timed_command, versions


def measure(p):
    file = training.write(p)
    # torch before 2.0 cannot read the default of --redirects and --tee on Python 3.11 and newer; what is told is read.
    options = ["--standalone", f"--nproc_per_node={p['train_ranks']}", "--redirects=1", "--tee=2", "--log_dir=logs"]
    seconds = timed_command(sys.executable, "-m", "torch.distributed.run", *options, file)
    emit("train", training.epochs())
    emit("train_wall", [seconds])


if __name__ == "__main__":
    versions("torch")
    attempt("train", measure, plan())
