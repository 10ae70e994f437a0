"""One call of `evaluate`, from what the user wrote to the results: the same for a circuit and for what gates need."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from provnet.circuit.conventions import Conventions
from provnet.errors import OptionError
from provnet.face.lists import questions_of
from provnet.face.neuron_names import At, masks_of, output_named, tensors_at
from provnet.face.question_setting import QuestionSetting, tile_of
from provnet.face.relevance import Relevance
from provnet.face.session import Session
from provnet.face.targets import Target


def answers(
    session: Session,
    semiring: Any,
    *,
    conventions: Conventions,
    target: Target = "predicted",
    rule: Any = "zero",
    annotation: Any = None,
    at: At = None,
    sources: bool = True,
    only: Mapping[str, Any] | None = None,
    output: str | int | None = None,
    start: Any = "one",
    dtype: torch.dtype | None = None,
    memory: int | None = None,
    route: str = "auto",
    engine: str = "auto",
    exact: bool = False,
    measure_memory: bool = False,
    product: bool = False,
) -> Relevance | list[Relevance]:
    """Return the relevance of every neuron for the target; of lists, a list of results.

    `conventions` says which edges there are. All else, and what is raised: see `Circuit.evaluate`.
    """
    data = session.data
    questions, several = questions_of(data, semiring, rule, annotation, exact, product)
    session.check_fresh()
    floating = session.floating(dtype)
    setting = QuestionSetting(
        session,
        output=output_named(data, output),
        target=target,
        conventions=conventions,
        start=start,
        floating=floating,
        route=route,
        engine=engine,
        tile=None if memory is None else tile_of(memory, floating),
        only=masks_of(data, only),
    )
    results = setting.answer(questions, kept_tensors(session, at, sources), measure_memory)
    return results if several else results[0]


def kept_tensors(session: Session, at: At, sources: bool = True) -> frozenset[int]:
    """Return the activations whose relevance an evaluation keeps: those that `at` names, and the sources unless these
    are not wanted. Raises `OptionError` where nothing is left."""
    if not isinstance(sources, bool):
        raise OptionError(f"sources={sources!r} is neither True nor False.")
    if not sources and at is None:
        raise OptionError("sources=False keeps no relevance unless at= names some tensor. Name one: at='fc1'.")
    return (frozenset(session.data.sources) if sources else frozenset()) | tensors_at(session.data, at)
