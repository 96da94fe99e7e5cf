"""The apps of fastai and accelerate: real training on two ranks over gloo."""

from __future__ import annotations

import json

import pytest
import stress
from harness import Node

pytest.importorskip("torch.distributed")

JOINED = {"status": "ok", "notices": [], "backend": "gloo", "device": "cpu"}  # in every app_reply

LEARNER = """
import random
import torch
from fastai.basics import *
from torch.utils.data import TensorDataset

def learner(rows=70, workers=0, **options):
    random.seed(1)  # of the order of the batches: in 2 of 100, lr_find would stop before it can suggest anything
    torch.manual_seed(1)
    x = torch.randn(rows, 4)
    y = (x @ torch.tensor([[1.0], [2.0], [-1.0], [0.5]])).squeeze(1)
    train, valid = TensorDataset(x[10:], y[10:]), TensorDataset(x[:10], y[:10])
    loaders = DataLoaders.from_dsets(train, valid, bs=8, device="cpu", num_workers=workers)
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 1), Squeeze())
    return Learner(loaders, model, loss_func=nn.MSELoss(), path=Path(FOLDER), **options)

class Squeeze(nn.Module):
    def forward(self, x): return x.squeeze(1)

def weights(learn):
    return torch.cat([p.detach().flatten() for p in learn.model.parameters()]).tolist()
"""


def each(ranks, code, **options):
    requests = [rank.start(code, **options) for rank in ranks]
    results = [rank.finish(request) for rank, request in zip(ranks, requests)]
    for result in results:
        assert result.status == "ok", result.error["traceback"]
    return results


def values(ranks, expression):
    """Evaluate on every rank something that JSON can hold."""
    code = f"import json; print('>>>' + json.dumps({expression}))"
    return [json.loads(result.text("stdout").rpartition(">>>")[2]) for result in each(ranks, code)]


@pytest.fixture(scope="module")
def preloaded(tmp_path_factory):
    """A node that has imported what the ranks would each take seconds for."""
    made = Node(tmp_path_factory.mktemp("apps") / "run")
    reply = made.ask("preload_request", {"modules": ["torch", "fastai.distributed"]})
    assert reply["fork_safe"], reply
    yield made
    made.close()


def installed_fastai(major):
    package = pytest.importorskip("fastai")
    if not package.__version__.startswith(f"{major}."):
        pytest.skip(f"the fastai that is installed is {package.__version__}")


@pytest.fixture
def fastai(preloaded, spawn, tmp_path):
    """Two ranks with a function that makes a learner."""
    installed_fastai(2)
    made = spawn(preloaded, 2, app="fastai", verbose=True)
    for rank in made:
        assert (rank.hello["status"], rank.hello["app"]) == ("ok", "fastai_v2"), rank.hello
    each(made, f"FOLDER = {str(tmp_path)!r}\n{LEARNER}")
    return made


def test_fastai_says_so_if_verbose(fastai):
    for rank in fastai:
        (notice,) = rank.hello["notices"]
        assert notice.endswith(": learners train on 2 ranks")


def test_the_app_of_another_fastai(torch_node, spawn):
    installed_fastai(2)
    (rank,) = spawn(torch_node, 1, app="fastai_v1")
    (notice,) = rank.hello["notices"]
    assert notice.startswith("app fastai_v1: fastai 2.")
    assert notice.endswith(" is installed; its app is fastai_v2; the pool runs as torch")


def test_a_learner_trains_on_all_ranks(fastai):
    shown = each(fastai, "learn = learner(); learn.fit(2)")
    (first, second) = values(fastai, "weights(learn)")
    assert first == second
    (alone, _) = values(fastai, "(single := learner(), Learner.fit.__wrapped__(single, 2), weights(single))[2]")
    assert first != alone
    assert "train_loss" in shown[0].text()
    assert shown[1].text() == ""
    assert values(fastai, "type(learn.model).__name__") == ["Sequential"] * 2
    assert values(fastai, "[type(dl).__name__ for dl in learn.dls]") == [["TfmdDL"] * 2] * 2


def test_stress_learners_with_workers(fastai):
    # A worker is forked from a rank for each loader of each epoch, right after a broadcast: see `_broadcast`.
    for _ in range(stress.rounds(1, 500)):
        each(fastai, "learn = learner(workers=2); learn.fit(2)")


def test_indices_outlive_their_broadcast(fastai):
    # Otherwise it is chance whether Python or gloo's thread is the last to let go of them.
    each(
        fastai,
        """
import weakref
broadcast, sent = torch.distributed.broadcast, []
def noting(tensor, *args, **options):
    sent.append(weakref.ref(tensor))
    return broadcast(tensor, *args, **options)
torch.distributed.broadcast = noting
try:
    learner().fit(1)
finally:
    torch.distributed.broadcast = broadcast
torch.distributed.barrier()
""",
    )
    assert values(fastai, "len(sent) >= 2 and sent[-1]() is not None") == [True] * 2


def test_each_rank_has_its_part_of_the_data(fastai):
    each(
        fastai,
        """
class Count(Callback):
    seen = 0
    def before_batch(self):
        if self.training: Count.seen += len(self.x)
learner(cbs=Count()).fit(1)
""",
    )
    assert values(fastai, "Count.seen") == [24, 24]  # of 30 rows those of three whole batches


def test_one_cycle_and_metrics(fastai):
    shown = each(fastai, "learn = learner(metrics=mae); learn.fit_one_cycle(1, 0.1)")
    assert "mae" in shown[0].text()
    (first, second) = values(fastai, "(weights(learn), list(learn.recorder.values[-1])[1:])")
    assert first == second


def test_distrib_ctx_of_a_script_wraps_once(fastai):
    each(
        fastai,
        """
learn = learner()
depth = []
class Depth(Callback):
    order = 20
    def before_train(self):
        depth.append(sum("DistributedDataParallel" in type(m).__name__ for m in self.learn.model.modules()))
with learn.distrib_ctx():
    learn.fit(1, cbs=Depth())
learn.to_distributed()
with learn.distrib_ctx():
    learn.fit(1, cbs=Depth())
""",
    )
    assert values(fastai, "depth") == [[1, 1]] * 2
    first, second = values(fastai, "weights(learn)")
    assert first == second


def test_outside_of_fit_a_rank_is_on_its_own(fastai):
    each(fastai, "learn = learner()")
    code = "import json; p, y = learn.get_preds(); print('>>>' + json.dumps([len(p), learn.validate()[0]]))"
    counts = []
    for rank in fastai:  # one after the other: who waits for the others would wait for ever
        (result,) = each([rank], code)
        counts.append(json.loads(result.text("stdout").rpartition(">>>")[2]))
    assert counts[0] == counts[1]
    assert counts[0][0] == 10


def test_lr_find_gives_all_ranks_one_answer(fastai):
    each(fastai, "learn = learner(200); before = weights(learn); found = learn.lr_find(show_plot=False)")
    first, second = values(fastai, "(found.valley, weights(learn) == before)")
    assert first == second
    assert first[1]
    each(fastai, "learn.fit(1, found.valley)")
    first, second = values(fastai, "weights(learn)")
    assert first == second


def test_lr_find_that_fails_frees_the_others(fastai):
    requests = [rank.start("learner().lr_find(num_it='x')") for rank in fastai]
    first, second = (rank.finish(request) for rank, request in zip(fastai, requests))
    assert first.content["ename"] == "TypeError"
    assert "rank 0 found no learning rate: TypeError" in second.content["evalue"]


def test_a_learner_is_whole_after_an_interrupted_fit(fastai):
    code = """
class Stop(Callback):
    def after_backward(self): raise KeyboardInterrupt
learn = learner()
learn.fit(1, cbs=Stop())
"""
    requests = [rank.start(code) for rank in fastai]
    for rank, request in zip(fastai, requests):
        assert rank.finish(request).content["ename"] == "KeyboardInterrupt"
    assert values(fastai, "type(learn.model).__name__") == ["Sequential"] * 2
    assert values(fastai, "[type(dl).__name__ for dl in learn.dls]") == [["TfmdDL"] * 2] * 2
    each(fastai, "learn.fit(1)")
    first, second = values(fastai, "weights(learn)")
    assert first == second


def test_another_app_takes_everything_back(fastai):
    patched = "[hasattr(getattr(Learner, name), '__wrapped__') for name in ('fit', 'to_distributed', 'to_detach')]"
    state = f"({patched}, progress_bar.__name__, 'ACCELERATE_USE_CPU' in os.environ)"
    before, after = values(fastai, state)
    assert before == [[True] * 3, "ConsoleProgressBar", True]
    assert after == [[True] * 3, "ProgressBar", True]
    requests = [rank.send("app_request", {"app": "torch"}) for rank in fastai]
    for rank, request in zip(fastai, requests):
        assert rank.reply(request, "app_reply") == {**JOINED, "app": "torch"}
    assert values(fastai, state) == [[[False] * 3, "ConsoleProgressBar", False]] * 2


LEARNER_1 = """
import torch
from fastai.basic_data import DataBunch
from fastai.basic_train import Learner
from fastai.callback import Callback
from torch.utils.data import TensorDataset

def learner():
    torch.manual_seed(1)
    x = torch.randn(70, 4)
    y = x @ torch.ones(4, 1)
    train, valid = TensorDataset(x[10:], y[10:]), TensorDataset(x[:10], y[:10])
    data = DataBunch.create(train, valid, bs=8, num_workers=0, path=FOLDER)
    return Learner(data, torch.nn.Linear(4, 1), loss_func=torch.nn.MSELoss())

class Count(Callback):
    seen = 0
    def on_batch_begin(self, last_input, train, **_):
        if train: Count.seen += len(last_input)

def weights(learn):
    return torch.cat([p.detach().flatten() for p in learn.model.parameters()]).tolist()
"""


def test_a_learner_of_fastai_1(preloaded, spawn, tmp_path):
    installed_fastai(1)
    made = spawn(preloaded, 2, app="fastai")
    assert [rank.hello["app"] for rank in made] == ["fastai_v1"] * 2, made[0].hello
    each(made, f"FOLDER = {str(tmp_path)!r}\n{LEARNER_1}")
    shown = each(made, "learn = learner(); learn.fit(1, callbacks=[Count()])")
    assert "train_loss" in shown[0].text()
    assert shown[1].text() == ""
    first, second = values(made, "(weights(learn), Count.seen, type(learn.model).__name__, len(learn.callbacks))")
    assert first == second
    assert first[1:] == [24, "Linear", 0]
    (by_script, _) = values(made, "(own := learner().to_distributed(0), own.fit(1), weights(own))[2]")
    assert by_script == first[0]
    (alone, _) = values(made, "(single := learner(), Learner.fit.__wrapped__(single, 1), weights(single))[2]")
    assert alone != first[0]
    requests = [rank.send("app_request", {"app": "torch"}) for rank in made]
    for rank, request in zip(made, requests):
        assert rank.reply(request, "app_reply") == {**JOINED, "app": "torch"}
    assert values(made, "hasattr(Learner.fit, '__wrapped__')") == [False] * 2


ACCELERATED = """
from accelerate import Accelerator
accelerator = Accelerator()
torch.manual_seed(accelerator.process_index)
data = torch.utils.data.TensorDataset(torch.randn(32, 4), torch.randn(32, 1))
model = torch.nn.Linear(4, 1)
optimizer = torch.optim.SGD(model.parameters(), 0.1)
model, optimizer, loader = accelerator.prepare(model, optimizer, torch.utils.data.DataLoader(data, batch_size=4))
batches = 0
for x, y in loader:
    optimizer.zero_grad()
    accelerator.backward((model(x) - y).square().mean())
    optimizer.step()
    batches += 1
accelerator.print("only once")
"""


@pytest.fixture
def accelerated(torch_node, spawn):
    pytest.importorskip("accelerate")
    made = spawn(torch_node, 2, app="accelerate")
    for rank in made:
        assert (rank.hello["app"], rank.hello["notices"]) == ("accelerate", []), rank.hello
    return made


def test_accelerate_trains_on_all_ranks(accelerated):
    shown = each(accelerated, f"import torch\n{ACCELERATED}")
    assert [result.text("stdout") for result in shown] == ["only once\n", ""]
    first, second = values(accelerated, "(torch.cat([p.flatten() for p in model.parameters()]).tolist(), batches)")
    assert first == second
    assert first[1] == 4
    facts = "(str(accelerator.device), accelerator.num_processes, accelerator.process_index)"
    assert values(accelerated, facts) == [["cpu", 2, 0], ["cpu", 2, 1]]


def test_accelerate_forgets_a_group_that_ends(accelerated):
    each(accelerated, f"import torch\n{ACCELERATED}")
    for app in ("none", "accelerate"):
        requests = [rank.send("app_request", {"app": app}) for rank in accelerated]
        for rank, request in zip(accelerated, requests):
            assert rank.reply(request, "app_reply") == {**JOINED, "app": app}
    each(accelerated, ACCELERATED)
    first, second = values(accelerated, "torch.cat([p.flatten() for p in model.parameters()]).tolist()")
    assert first == second
