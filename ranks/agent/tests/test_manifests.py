"""The manifests of examples/clusters name fields that Kubernetes has."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator
from typing import Any

import pytest

kubernetes_validate = pytest.importorskip("kubernetes_validate")
yaml = pytest.importorskip("yaml")

EXAMPLES = pathlib.Path(__file__).parents[3] / "examples" / "clusters"


def jobs(document: Any) -> Iterator[dict[str, Any]]:
    """Yield a Job for each template of one, since the kinds around them are not Kubernetes' own."""
    if document["kind"] == "Job":
        yield document
    for replicated in document["spec"].get("replicatedJobs", []):
        job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "x"}}
        yield {**job, "spec": replicated["template"]["spec"]}
    if "template" in document["spec"]:
        yield from jobs({"kind": "JobSet", "spec": document["spec"]["template"]["spec"]})


@pytest.mark.parametrize("name", ["job.yaml", "jobset.yaml", "trainjob.yaml"])
def test_manifest(name: str) -> None:
    (job,) = (job for document in yaml.safe_load_all((EXAMPLES / name).read_text()) for job in jobs(document))
    kubernetes_validate.validate(job, "1.37", strict=True)
    pod = job["spec"]["template"]["spec"]
    assert pod["containers"][0]["command"] == ["dipls", "join", "--env"]
    # A token is good once: nothing may start a pod again.
    assert pod["restartPolicy"] == "Never"
    assert job["spec"]["backoffLimit"] == 0
