"""No message may advise what no test has followed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.advice import (  # noqa: F401  # they fill the table
    test_algebra_and_files,
    test_batches,
    test_capture,
    test_dataset_commands,
    test_questions,
)
from tests.advice.sites import TABLE, messages, sites

ELSEWHERE = {
    "wheel: pip install numba.": "tests/test_without_extras.py: the same answers without it and with it",
    "even with tiles of {} edges": "tests/torch_backend/test_out_of_memory.py: memory runs out there as it is told to",
    "nothing that was done is lost.": "tests/applications/datasets/test_ranks.py: a lost worker, and all go on",
    "with checkpoint= each goes on where it stopped.": "tests/applications/datasets/test_ranks.py: the same",
    ", or name smaller parameters: weights=[…].": "tests/applications/test_subnetworks.py: a smaller batch",
    "Trace it as provnet.trace(model, x, sources=[{}]).": "tests/applications/test_subnetworks.py: it is traced so",
    "Take engine='auto', which takes what is there.": "tests/torch_backend/test_engine_choice.py: auto serves",
    "such as mask=mask.npy.": "tests/test_cli.py: several inputs, by keyword",
    "or explain one: --sources {}.": "tests/test_cli.py: relevance of several inputs is written by name",
    "Take gates(units=True), which draws them.": "tests/face/test_gate_circuit.py: gates with unit edges as gates",
}
"""A piece of a message -> the test file in another place that follows it."""


@pytest.mark.guarantee("a message that advises code without a test that follows it fails the suite")
@pytest.mark.parametrize("site", sites(), ids=lambda site: f"{site.file}:{site.line}")
def test_every_message_that_advises_code_has_a_test_that_follows_it(site):
    known = [piece for piece in (*TABLE, *ELSEWHERE) if piece in site.text]
    assert known, (
        f"provnet/{site.file}:{site.line} advises {site.advice!r}: write a test that provokes the message and does "
        "what it says, and mark it @follows(a piece of the message)"
    )


def test_every_piece_in_the_table_is_in_a_message():
    said = [site.text for site in sites()]
    lost = [piece for piece in (*TABLE, *ELSEWHERE) if not any(piece in text for text in said)]
    assert not lost, f"no message says {lost} any more"


def test_a_new_message_is_noticed(tmp_path: Path):
    source = tmp_path / "new.py"
    source.write_text(
        'raise OptionError(f"x={x} is wrong. " f"Take exact=True{more}, or call model.eval().")\n', "utf-8"
    )
    (found,) = messages_in(source)
    assert found == "x={} is wrong. Take exact=True{}, or call model.eval()."


def messages_in(path: Path) -> list[str]:
    return [site.text for site in messages(path, path.parent) if site.advice]
