"""Variables in files."""

from __future__ import annotations

import json
import os
import pickle
import stat

import numpy as np
import pytest

from dip_agent import files

torch = pytest.importorskip("torch")


def same(a, b) -> bool:
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, np.ndarray):
        return isinstance(b, np.ndarray) and a.dtype == b.dtype and np.array_equal(a, b)
    return type(a) is type(b) and a == b


ARRAY = np.arange(6, dtype="float32").reshape(2, 3)
TENSOR = torch.arange(4, dtype=torch.bfloat16)


@pytest.mark.parametrize(
    ("suffix", "values", "back"),
    [
        (".npy", {"a": ARRAY}, ARRAY),
        (".npy", {"a": torch.ones(2)}, np.ones(2, dtype="float32")),
        (".npy", {"a": [1.5, 2]}, np.array([1.5, 2])),
        (".npz", {"a": ARRAY}, {"a": ARRAY}),
        (".npz", {"file": ARRAY, "größe": np.array("x")}, {"file": ARRAY, "größe": np.array("x")}),
        (".pt", {"a": TENSOR}, TENSOR),
        (".pt", {"a": {"w": TENSOR, "n": [1, None, (2, "x")]}}, {"w": TENSOR, "n": [1, None, (2, "x")]}),
        (".PT", {"a": TENSOR, "b": 3}, {"a": TENSOR, "b": 3}),
        (".json", {"a": {"x": [1, "ü", None]}}, {"x": [1, "ü", None]}),
        (".json", {"a": 1, "b": (2, True)}, {"a": 1, "b": [2, True]}),
    ],
)
def test_there_and_back(tmp_path, suffix, values, back):
    path = str(tmp_path / f"ü x{suffix}")
    files.write(path, list(values), {**values, "other": object()})
    namespace = {"z": 1}
    files.serve(namespace, {"path": path, "names": ["z"], "write": False})
    assert list(namespace) == ["z"]
    assert same(back, namespace["z"])
    assert os.listdir(tmp_path) == [f"ü x{suffix}"]


def test_numbers_of_pt(tmp_path):
    path = str(tmp_path / "x.pt")
    files.write(path, ["lr"], {"lr": 0.5})
    if torch.__version__.startswith("1."):
        with pytest.raises(files.FileError, match="a later torch does"):
            files.read(path)
    else:
        assert files.read(path) == 0.5


@pytest.mark.parametrize(
    ("suffix", "values", "said"),
    [
        (".npy", {"a": object()}, "a: .npy holds arrays"),
        (".npy", {"a": 1, "b": 2}, ".npy takes one variable, not 2; .npz takes several"),
        (".npy", {"a": TENSOR}, "a: .npy cannot hold it"),
        (".npz", {"a": {1: 2}}, "a: .npz holds arrays"),
        (".pt", {"a": torch.nn.Linear(1, 1)}, "take its state_dict()"),
        (".pt", {"a": [ARRAY]}, "but no ndarray; .npy and .npz hold arrays"),
        (".json", {"a": TENSOR}, "its .tolist() is fine, and .npy and .pt hold it"),
        (".json", {"a": ARRAY}, "its .tolist() is fine, and .npy holds it"),
        (".json", {"a": {1: 2}}, "the keys of .json are text, not int"),
        (".json", {"a": float("nan")}, "no nan"),
        (".txt", {"a": 1}, "says its format: .npy, .npz, .pt, .json"),
        ("", {"a": 1}, "says its format"),
    ],
)
def test_what_a_format_cannot_hold(tmp_path, suffix, values, said):
    path = tmp_path / f"x{suffix}"
    path.write_text("before")
    with pytest.raises(files.FileError) as err:
        files.write(str(path), list(values), values)
    assert said in str(err.value)
    assert path.read_text() == "before"
    assert os.listdir(tmp_path) == [path.name]


class Evil:
    def __reduce__(self):
        return (os.mkdir, ("evil",))


def test_nothing_that_is_read_runs_code(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("o.npy", np.array([Evil()], dtype=object))
    np.savez("o.npz", a=np.array([Evil()], dtype=object))
    torch.save({"a": Evil()}, "o.pt")
    with open("p.npy", "wb") as file:
        pickle.dump(Evil(), file)
    with open("p.npz", "wb") as file:
        pickle.dump(Evil(), file)
    with open("bad.json", "w") as file:
        file.write("{")
    for name, said in {
        "o.npy": files.CODE,
        "o.npz": files.CODE,
        "o.pt": files.CODE,
        "p.npy": "no .npy file",
        "p.npz": "no .npz file",
        "bad.json": "no JSON",
        "none.json": "No such file",
    }.items():
        with pytest.raises(files.FileError) as err:
            files.read(name)
        assert said in str(err.value), name
    assert not os.path.exists("evil")


def test_no_link_is_written_through(tmp_path):
    target = tmp_path / "target.json"
    target.write_text("before")
    link = tmp_path / "link.json"
    link.symlink_to(target)
    with pytest.raises(files.FileError, match="is a link to"):
        files.write(str(link), ["a"], {"a": 1})
    os.mkdir(tmp_path / "d.json")
    with pytest.raises(files.FileError, match="is no file"):
        files.write(str(tmp_path / "d.json"), ["a"], {"a": 1})
    with pytest.raises(files.FileError, match="No such file"):
        files.write(str(tmp_path / "none" / "x.json"), ["a"], {"a": 1})
    with pytest.raises(NameError, match="name 'b' is not defined"):
        files.write(str(target), ["a", "b"], {"a": 1})
    assert target.read_text() == "before"


def test_a_file_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "x.json"
    path.write_text("before")
    path.chmod(0o600)

    def full(_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(files.FileError, match="No space left"):
            files.write(str(path), ["a"], {"a": 1})
    assert path.read_text() == "before"
    assert os.listdir(tmp_path) == ["x.json"]
    files.write(str(path), ["a"], {"a": 1})
    assert json.loads(path.read_text()) == 1
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_request_writes_and_reads_without_code(local, tmp_path):
    path = str(tmp_path / "x.json")
    assert local.run("x = [1, 2]; before = set(globals())").status == "ok"
    assert local.run("", file={"path": path, "names": ["x"], "write": True}).status == "ok"
    assert local.run("", file={"path": path, "names": ["y"], "write": False}).status == "ok"
    assert (
        local.run("print(y, [n for n in sorted(set(globals()) - before) if n[0] != '_'])").text()
        == "[1, 2] ['before', 'y']\n"
    )
    failed = local.run("", file={"path": path, "names": ["none"], "write": True})
    assert (failed.status, failed.content["ename"]) == ("error", "NameError")


@pytest.mark.parametrize("name", ["bad.json", "bad.pt", "bad.npz"])
def test_what_is_wrong_with_a_file_is_one_sentence(local, tmp_path, name):
    path = tmp_path / name
    path.write_bytes(b"garbage")
    failed = local.run("", file={"path": str(path), "names": ["x"], "write": False})
    assert failed.error["traceback"] == [f"FileError: {failed.content['evalue']}"]
