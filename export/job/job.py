class Job:
    """One rank of the job. Rank 0 also runs the cells of the local namespace, with variables of their own."""

    _LAUNCHERS = (
        *("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_RANK", "GROUP_WORLD_SIZE", "NODE_RANK"),
        *("ROLE_RANK", "ROLE_WORLD_SIZE", "ROLE_NAME", "MASTER_ADDR", "MASTER_PORT"),
    )

    def __init__(self, names):
        """Take the rank from the launcher: torchrun, accelerate or srun; without one, this is the only rank."""
        import os

        if "RANK" not in os.environ and int(os.environ.get("SLURM_NTASKS", 1)) > 1:
            self._take_from_slurm(os.environ)
        self.rank = int(os.environ.get("RANK", 0))
        self.size = int(os.environ.get("WORLD_SIZE", 1))
        os.environ.update(RANK=str(self.rank), WORLD_SIZE=str(self.size))
        os.environ.setdefault("LOCAL_RANK", str(self.rank))
        os.environ.setdefault("LOCAL_WORLD_SIZE", str(self.size))
        self._environ = dict(os.environ)
        self._names = names
        self._own = {*names, "job"}  # what both kinds of cells see
        self._others = {}  # the variables of the kind of cells that does not run now
        self._hidden = {}  # what the launcher has set, while cells of the local namespace run
        self._is_local = self._joined = False

    def _take_from_slurm(self, environ):
        import subprocess

        nodes = environ.get("SLURM_STEP_NODELIST") or environ["SLURM_JOB_NODELIST"]
        command = ["scontrol", "show", "hostnames", nodes]
        hosts = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout.split()
        here = environ.get("SLURM_STEP_TASKS_PER_NODE") or environ["SLURM_TASKS_PER_NODE"]
        environ.update(
            RANK=environ["SLURM_PROCID"],
            WORLD_SIZE=environ["SLURM_NTASKS"],
            LOCAL_RANK=environ["SLURM_LOCALID"],
            LOCAL_WORLD_SIZE=here.split("(")[0].split(",")[0],
        )
        environ.setdefault("MASTER_ADDR", hosts[0])
        environ.setdefault("MASTER_PORT", str(20000 + int(environ["SLURM_JOB_ID"]) % 20000))

    def local(self):
        """Whether this rank runs what follows, a local cell: rank 0 does, with variables of its own."""
        self._turn(self.rank == 0)
        return self.rank == 0

    def ranks(self, *ranks):
        """Whether this rank runs what follows, a cell of all ranks or only of some."""
        self._turn(False)
        if not self._joined:
            self._joined = True
            self._join()
            self._inherit()
        return not ranks or self.rank in ranks

    def everywhere(self, *ranks):
        """Run what follows once in the local namespace and then on ranks."""
        if self.local():
            yield
        if self.ranks(*ranks):
            yield

    def push(self, *names, ranks=()):
        """Copy variables of the local namespace to all ranks, or only to some."""
        self.ranks()
        self.local()
        pickled = self._spread(self._pickle(names) if self.rank == 0 else None, 0)
        if self.ranks(*ranks):
            self._bind(self._unpickle(pickled))

    def pull(self, *names, rank=0):
        """Copy variables of a rank to the local namespace."""
        self.ranks()
        pickled = self._spread(self._pickle(names) if self.rank == rank else None, rank)
        if self.local():
            self._bind(self._unpickle(pickled))
        self.ranks()

    def pull_lists(self, *names, ranks=()):
        """Make lists in the local namespace of what some ranks have, or all."""
        import torch.distributed as dist

        takes_part = self.ranks(*ranks)
        pickles = [None] * self.size
        dist.all_gather_object(pickles, self._pickle(names) if takes_part else None)
        if self.local():
            values = [self._unpickle(one) for one in pickles if one is not None]
            self._bind({name: [value[name] for value in values] for name in names})
        self.ranks()

    def end(self):
        """Leave the process group."""
        import torch.distributed as dist

        self._turn(False)
        if self._joined and dist.is_initialized():
            dist.destroy_process_group()

    def _turn(self, local):
        """Exchange the variables of one kind of cells for those of the other."""
        import os

        if local == self._is_local:
            return
        self._is_local = local
        if local:  # there is no rank there
            self._hidden = {name: os.environ.pop(name) for name in list(os.environ) if self._is_launchers(name)}
        else:
            os.environ.update(self._hidden)
        others = {name: self._names.pop(name) for name in list(self._names) if name not in self._own}
        self._names.update(self._others)
        self._others = others

    def _is_launchers(self, name):
        return name in self._LAUNCHERS or name.startswith("TORCHELASTIC_")

    def _join(self):
        """Join the process group: nccl if every rank of this host has a GPU of its own, otherwise gloo."""
        import datetime
        import os

        import torch
        import torch.distributed as dist

        gpus = torch.cuda.device_count()
        if gpus:
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]) % gpus)
            gpus = max(gpus, int(os.environ.get("SLURM_GPUS_ON_NODE", 0)))  # srun may show each rank only its own
        enough = gpus >= int(os.environ["LOCAL_WORLD_SIZE"])
        backend = "nccl" if enough and dist.is_nccl_available() else "gloo"
        options = {"timeout": datetime.timedelta(hours=24)}  # others wait while rank 0 runs cells by itself
        if self.size == 1 and "MASTER_ADDR" not in os.environ:
            options.update(store=dist.HashStore(), rank=0, world_size=1)
        if not dist.is_initialized():
            dist.init_process_group(backend, **options)

    def _inherit(self):
        """Take over what the local namespace has changed of the environment, the working directory and sys.path."""
        import os
        import sys

        changed = {name: value for name, value in os.environ.items() if self._environ.get(name) != value}
        gone = [name for name in self._environ if name not in os.environ]
        here = self._spread(self._pickled((changed, gone, os.getcwd(), sys.path)) if self.rank == 0 else None, 0)
        if self.rank != 0:
            changed, gone, directory, path = self._unpickle(here)
            changed = {name: value for name, value in changed.items() if not self._is_launchers(name)}
            os.environ.update(changed)
            for name in gone:
                os.environ.pop(name, None)
            os.chdir(directory)
            sys.path[:] = path

    def _spread(self, pickled, source):
        """Send a pickle from one rank to all."""
        import torch.distributed as dist

        box = [pickled]
        dist.broadcast_object_list(box, src=source)
        return box[0]

    def _pickle(self, names):
        missing = [name for name in names if name not in self._names]
        if missing:
            where = "in the local namespace" if self._is_local else f"on rank {self.rank}"
            raise NameError(f"name {missing[0]!r} is not defined {where}")
        return self._pickled({name: self._names[name] for name in names})

    def _pickled(self, value):
        import pickle

        try:
            import cloudpickle  # functions and classes of this file travel by value
        except ImportError:
            return pickle.dumps(value)
        return cloudpickle.dumps(value)

    def _unpickle(self, pickled):
        import pickle

        try:
            return pickle.loads(pickled)
        except AttributeError as err:
            raise RuntimeError(f"{err}: functions and classes of this file travel only with cloudpickle") from err

    def _bind(self, values):
        """Bind variables. Functions see the variables here, and bring those that are missing."""
        for name, value in values.items():
            self._names[name] = self._settle(value)

    def _settle(self, value):
        import types

        if (
            not isinstance(value, types.FunctionType)
            or value.__module__ != "__main__"
            or value.__globals__ is self._names
        ):
            return value
        for name, brought in value.__globals__.items():
            self._names.setdefault(name, brought)
        made = types.FunctionType(value.__code__, self._names, value.__name__, value.__defaults__, value.__closure__)
        made.__kwdefaults__, made.__doc__, made.__qualname__ = value.__kwdefaults__, value.__doc__, value.__qualname__
        made.__annotations__, made.__module__ = value.__annotations__, value.__module__
        made.__dict__.update(value.__dict__)
        return made


job = Job(globals())
