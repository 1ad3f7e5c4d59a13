from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vep_dagger.compat import clean

INFO = "INFO 11-23 23:47:48 [cuda_communicator.py:201] Using AgRsAll2AllManager all2all manager."


@pytest.mark.parametrize(
    "prefix",
    [
        "",
        "(Worker pid=2055) ",
        "(APIServer pid=3635) ",
        "(EngineCore_DP0 pid=1470) ",
        "(Worker_DP0_EP0 pid=2055) ",
        "(VllmWorker rank=0 pid=77) ",
        "(VllmWorker-0 pid=5291) ",
        "(RayWorkerWrapper pid=12, ip=10.0.0.7) ",
        "(EngineCore_DP0 pid=1470) (Worker_DP0_EP0 pid=2055) ",
        "\x1b[1;36m(EngineCore pid=1)\x1b[0;0m ",
        "\x1b[0;36m(EngineCore_DP0 pid=1)\x1b[0;0m \x1b[0;36m(Worker_DP0_EP0 pid=2)\x1b[0;0m ",
    ],
)
def test_process_prefixes_are_stripped_also_nested_and_coloured(prefix: str) -> None:
    assert clean(prefix + INFO) == [INFO]


def test_colours_within_a_message_are_stripped() -> None:
    coloured = "\x1b[32mINFO\x1b[0m \x1b[90m11-23 23:47:48\x1b[0m \x1b[90m[a.py:1]\x1b[0m Using it."
    assert clean(coloured) == ["INFO 11-23 23:47:48 [a.py:1] Using it."]


def test_a_window_title_is_stripped() -> None:
    assert clean("\x1b]0;VLLM::EngineCore\x07ready") == ["ready"]


def test_carriage_returns_and_cursor_movements_separate_messages() -> None:
    assert clean("(Worker pid=7) \rA:   0%|  | 0/2\rA: 100%|##| 2/2\x1b[A\x1b[1Bnext\n") == [
        "A:   0%|  | 0/2",
        "A: 100%|##| 2/2",
        "next",
    ]


def test_another_process_message_in_the_middle_of_a_progress_bar_is_a_message_of_its_own() -> None:
    bar = "Capturing CUDA graphs:  31%|███▏ | 16/51 [00:52<01:45,  3.01s/it]"
    message = "INFO 11-24 00:12:50 [x.py:1] No block"
    assert clean(f"\r{bar}(EngineCore_DP1 pid=1605) {message}") == [bar, message]
    assert clean(f"\r{bar}{message}") == [bar, message]


def test_a_message_is_not_split_at_its_own_time_stamp() -> None:
    assert clean(f"(W pid=1) (X pid=2) {INFO}") == [INFO]


def test_indentation_survives_and_empty_pieces_do_not() -> None:
    assert clean('(W pid=1)   File "a.py", line 1\n\n(W pid=1) \r\n  \n') == ['  File "a.py", line 1']
    assert clean("") == []


def test_text_in_parentheses_is_no_prefix() -> None:
    for text in ("Started coordinator (PID: 1388)", "(a pid=) b", "call(x, y) pid=7", "took (46.51 s)"):
        assert clean(text) == [text]


@given(st.text(alphabet=st.sampled_from("\r\n\x1b[]();pid=0123456789 AWINFO:.-,mAK\x07_"), max_size=200))
def test_cleaning_never_adds_and_leaves_no_escape_that_it_knows(text: str) -> None:
    pieces = clean(text)
    assert sum(map(len, pieces)) <= len(text)
    assert all(piece.strip() and "\r" not in piece and "\n" not in piece and "\x1b[0m" not in piece for piece in pieces)


BAR = "Capturing CUDA graphs (decode, FULL):  18%|█▊        | 9/51 [00:00<00:01, 26.27it/s]"


@pytest.mark.parametrize(
    "unit",
    [
        f"\r{BAR}", BAR, "x", "(", "(A", "(Worker pid=1", "(Worker pid=1) ", "(A B C pid=", "INFO 11-24 00:12:50 ",
        "\x1b[", "\x1b[0;", "\x1b]", " ", "\r",
    ],
)  # fmt: skip
def test_a_line_of_a_megabyte_is_cleaned_in_linear_time(unit: str) -> None:
    def seconds(size: int) -> float:
        text = (unit * (size // len(unit) + 1))[:size]
        began = time.perf_counter()
        clean(text)
        return time.perf_counter() - began

    whole = seconds(1_000_000)
    assert whole < 2.0
    # Eight times the text may take eight times as long, with room for noise, but not sixty-four times.
    assert whole < 30 * max(min(seconds(125_000) for _ in range(2)), 0.002)
