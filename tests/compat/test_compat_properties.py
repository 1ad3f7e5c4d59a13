from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from vep_dagger.compat import Compat, Selection
from vep_dagger.errors import CompatError

COMPAT = Compat.load()
BACKENDS = [*COMPAT.backends, "passthrough", "AgRs", ""]
DATA_PARALLEL = st.integers(min_value=-1, max_value=512)
PARTS = st.lists(st.integers(min_value=0, max_value=40).map(str), min_size=1, max_size=5).map(".".join)


def ask(
    version: str, backend: str | None, deep_gemm: bool | None, ranks: int, expert: bool, device: str
) -> Selection | None:
    try:
        return COMPAT.select(
            version, all2all=backend, deep_gemm=deep_gemm, data_parallel=ranks, expert_parallel=expert, device=device
        )
    except CompatError:
        return None


def assert_consistent(selection: Selection) -> None:
    if selection.impossible is not None:
        assert selection == Selection(impossible=selection.impossible)
        return
    demanded, forbidden = [rule.pattern for rule in selection.demanded], [rule.pattern for rule in selection.forbidden]
    assert not set(demanded) & set(forbidden)
    assert len(set(demanded)) == len(demanded)
    assert not {name for name, _ in selection.env} & set(selection.unset)
    assert list(selection.env) == sorted(selection.env)


@given(
    st.text() | PARTS | st.sampled_from(COMPAT.releases),
    st.none() | st.text() | st.sampled_from(BACKENDS),
    st.none() | st.booleans(),
    DATA_PARALLEL,
    st.booleans(),
    st.sampled_from(["cuda", "cpu"]) | st.text(),
)
@settings(deadline=None, max_examples=300)
def test_any_text_gives_a_selection_or_a_compat_error(
    version: str, backend: str | None, deep_gemm: bool | None, ranks: int, expert: bool, device: str
) -> None:
    selection = ask(version, backend, deep_gemm, ranks, expert, device)
    if selection is not None:
        assert_consistent(selection)


def test_no_selection_of_any_release_contradicts_itself() -> None:
    for version in (*COMPAT.releases, "0.15.0", "0.40.0"):
        for backend in (None, *COMPAT.backends):
            for deep_gemm in (None, True, False):
                for ranks in (1, 2):
                    for device in ("cuda", "cpu"):
                        selection = ask(version, backend, deep_gemm, ranks, True, device)
                        assert selection is not None
                        assert_consistent(selection)


@given(st.text() | PARTS)
@settings(deadline=None, max_examples=300)
def test_a_version_resolves_to_known_data_or_is_refused(text: str) -> None:
    try:
        release = COMPAT.release(text)
    except CompatError:
        return
    assert (release.known_as or release.version) in COMPAT.releases
