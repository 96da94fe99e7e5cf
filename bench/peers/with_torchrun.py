"""The same training script under dipls and under torchrun, torch's own launcher.

Both train at the same time, but for an epoch each in turn, while the other waits: what else the machine does, and how
fast it is just then, is the same for both.
"""

import contextlib
import json
import os
import socket
import subprocess
from dataclasses import dataclass, field

import training
from procfs import cpu_seconds, descendants
from samples import attempt, emit, plan, timed_command, versions

PATIENCE = 120  # seconds for a launcher to get to the last cell, or for an epoch


@dataclass
class Side:
    """A launcher, and rank 0 of the script that it runs, which is in the last cell."""

    launcher: subprocess.Popen
    rank: socket.socket
    replies: object  # lines of rank
    samples: dict = field(default_factory=dict)  # by figure

    def epoch(self):
        """Trains an epoch; returns its figures, in milliseconds."""
        before = self.cpu()
        self.rank.sendall(b"!")
        took, main = json.loads(self.replies.readline())
        return {"train": took, "train_main": main, "train_all": (self.cpu() - before) * 1000}

    def cpu(self):
        """The processor time of the launcher and of all that it has started, in seconds."""
        return cpu_seconds({self.launcher.pid} | descendants(self.launcher.pid))


def measure_epochs(p):
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket(socket.AF_UNIX))
        listener.settimeout(PATIENCE)
        listener.bind("turns")
        listener.listen()
        launchers = {}
        for who, command in training.commands(p).items():
            script = training.write_turns(who, os.path.abspath("turns"))
            launchers[who] = stack.enter_context(running([*command, script]))
        sides = dict(accept(stack, listener, launchers) for _ in launchers)
        take_turns(list(sides.values()), p["epochs"])
        for who, side in sides.items():
            for figure, samples in side.samples.items():
                emit(figure, samples, who=who)
            side.rank.shutdown(socket.SHUT_WR)  # that was the last epoch
        for who, launcher in launchers.items():
            if launcher.wait(PATIENCE) != 0:
                raise RuntimeError(f"{who} ended with exit code {launcher.returncode}")


def take_turns(sides, epochs):
    """Has each side train an epoch that does not count, and then as many as that."""
    for number in range(epochs + 1):
        for side in sides if number % 2 == 0 else reversed(sides):
            for figure, sample in side.epoch().items():
                if number > 0:
                    side.samples.setdefault(figure, []).append(sample)


@contextlib.contextmanager
def running(command):
    """A launcher, which is ended if it does not end by itself."""
    process = subprocess.Popen(command)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait()


def accept(stack, listener, launchers):
    """The next side that gets to the last cell, and who it is."""
    rank, _ = listener.accept()
    stack.enter_context(rank)
    rank.settimeout(PATIENCE)
    replies = stack.enter_context(rank.makefile())
    who = replies.readline().strip()
    return who, Side(launchers[who], rank, replies)


def measure_commands(p):
    for who, command in training.commands(p).items():
        emit("train_wall", [timed_command(*command, training.write("train.py"))], who=who)


if __name__ == "__main__":
    versions("torch")
    attempt("train", measure_epochs, plan())
    if plan()["train_command"]:
        attempt("train_wall", measure_commands, plan())
