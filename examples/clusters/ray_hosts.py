"""Makes nodes of a Ray cluster the hosts of a session: Ray starts one agent on each, with the GPUs that it allots.

Start the session on any machine that the nodes can dial, in a folder that they share:

    dipls run train.py --hosts 'join[2] .'

It says where its start-up lies. Then, on a machine of the cluster:

    python ray_hosts.py FILE 2 8      # that file, the number of nodes, GPUs on each
"""

import os
import subprocess
import sys

import ray
from ray.util.placement_group import placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy


@ray.remote
def join(startup: str) -> int:
    return subprocess.run(["dipls", "join", "--env"], env={**os.environ, "DIPLS_STARTUP": startup}).returncode


startup, nodes, gpus = os.path.abspath(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
ray.init(address="auto")
group = placement_group([{"CPU": 1, "GPU": gpus} if gpus else {"CPU": 1}] * nodes, strategy="STRICT_SPREAD")
ray.get(group.ready())
places = [PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=i) for i in range(nodes)]
agents = [join.options(num_cpus=1, num_gpus=gpus, scheduling_strategy=place).remote(startup) for place in places]
sys.exit(max(ray.get(agents)))
