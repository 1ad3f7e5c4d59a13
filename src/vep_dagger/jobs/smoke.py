"""The smoke job: a started server is what its cell says, or it is not."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from packaging.version import InvalidVersion, Version

from vep_dagger.compat.rules import LineRule
from vep_dagger.evidence import Witness
from vep_dagger.evidence.record import Answer, LineSeen
from vep_dagger.jobs.failure import JobFailed
from vep_dagger.jobs.logwatch import LogWatch
from vep_dagger.jobs.probe import Probe, ProbeError
from vep_dagger.jobs.readiness import cause_witness, check_alive, check_forbidden
from vep_dagger.launchers.base import Server
from vep_dagger.matrix.schema import Smoke
from vep_dagger.plan import Deployment


async def check_version(probe: Probe, deployment: Deployment) -> str:
    """``/version`` is the release that the cell pins; a local part (``+cpu``) does not count. Raises JobFailed."""
    try:
        answered = await probe.version()
    except ProbeError as error:
        raise JobFailed(str(error)) from None
    if not _same_release(answered, deployment.image.release):
        raise JobFailed(f"/version answers {answered}, and the cell pins {deployment.image.release}")
    return answered


async def ask_completions(
    server: Server,
    probe: Probe,
    watch: LogWatch,
    log: str,
    deployment: Deployment,
    smoke: Smoke,
    say: Callable[[str], None],
) -> list[Answer]:
    """Every prompt is answered with at least a token. Raises JobFailed, with the log's line that says why not."""
    answers: list[Answer] = []
    for number, prompt in enumerate(smoke.prompts, 1):
        say(f"request {number}/{len(smoke.prompts)}")
        try:
            answer = await probe.complete(deployment.model.served_name, prompt, smoke.max_tokens)
        except ProbeError as error:
            watch.read(last=True)
            raise JobFailed(f"healthy, but request {number} failed: {error}", cause_witness(watch, log)) from None
        answers.append(Answer(prompt=prompt, text=answer.text, tokens=answer.tokens, seconds=round(answer.seconds, 3)))
    watch.read()
    check_alive(server, watch, log, "after the requests")
    return answers


def check_lines(watch: LogWatch, log: str) -> None:
    """Every demanded line was seen and no forbidden one. Raises JobFailed with the verdict of the rule that is
    broken."""
    watch.read(last=True)
    check_forbidden(watch, log)
    for rule in watch.demanded:
        if rule not in watch.seen:
            last = watch.last
            witness = Witness(
                file=log, line=last.number if last else None, text=f"no line of the log matches {rule.pattern!r}"
            )
            raise JobFailed(f"the log does not show {rule.name}", witness, rule.violation)


def lines_seen(watch: LogWatch, log: str) -> tuple[list[LineSeen], list[LineSeen]]:
    """The demanded and the forbidden lines, each with where it was seen."""

    def found(rules: Sequence[LineRule]) -> list[LineSeen]:
        return [
            LineSeen(
                name=rule.name, pattern=rule.pattern, seen=line.witness(log) if (line := watch.seen.get(rule)) else None
            )
            for rule in rules
        ]

    return found(watch.demanded), found(watch.forbidden)


def _same_release(answered: str, pinned: str) -> bool:
    try:
        return Version(answered).public == Version(pinned).public
    except InvalidVersion:
        return answered == pinned
