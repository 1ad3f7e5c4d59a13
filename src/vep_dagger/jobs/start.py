"""What is started for a deployment, and what is watched of it: the same for a smoke test and for a server that people
use."""

from __future__ import annotations

from pathlib import Path

from vep_dagger.compat import Compat
from vep_dagger.jobs.logwatch import LogWatch
from vep_dagger.launchers.base import ServerSpec
from vep_dagger.matrix import Matrix
from vep_dagger.plan import Deployment


def server_spec(matrix: Matrix, deployment: Deployment, directory: Path, log: Path, shared: Path) -> ServerSpec:
    """The server of a deployment: it works in ``directory``, below ``shared``, which its clients may write too."""
    serve = matrix.file.serve
    assert serve is not None, "there is a deployment"
    model = model_path(matrix, deployment)
    return ServerSpec(
        name=deployment.slug,
        argv=(
            *("vllm", "serve", model, "--host", "{host}", "--port", "{port}"),
            *("--served-model-name", deployment.model.served_name),
            *deployment.args,
        ),
        env=dict(deployment.env),
        unset=deployment.selection.unset,
        directory=directory,
        log=log,
        host=serve.host,
        port=serve.port,
        mounts=(Path(model),) if deployment.model.digest is not None else (),
        shared=shared.resolve(),
        gpus=deployment.image.device == "cuda",
        key=deployment.key,
    )


def model_path(matrix: Matrix, deployment: Deployment) -> str:
    """A model directory as the server finds it; the plan keeps it relative, so that it is the same everywhere."""
    if deployment.model.digest is None:
        return deployment.model.source
    return str((matrix.path.parent / deployment.model.source).resolve())


def log_watch(log: Path, deployment: Deployment, compat: Compat) -> LogWatch:
    """Follows the log of a deployment's server: its phases, and the lines that it must show and must not."""
    selection = deployment.selection
    return LogWatch(log, selection.demanded, selection.forbidden, compat.phases(deployment.image.release))
