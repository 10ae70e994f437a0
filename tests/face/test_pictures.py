"""Pictures in one call, and what notebooks show: the right numbers on the right colours, every text escaped."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import provnet
from provnet.errors import LimitError, OptionError, UnsupportedOperationError
from provnet.notebook import card, coloured_tokens
from provnet.semirings import get
from provnet.writers.plot import limits
from tests.nets import perceptron

matplotlib = pytest.importorskip("matplotlib", reason="pictures need the extra `demo`")


def small() -> provnet.Circuit:
    model = perceptron(3, 2, 1)
    weights = {"0.weight": [[2, 1, 0], [0, 1, 3]], "0.bias": [0, 0], "2.weight": [[1, 0.5]], "2.bias": [0]}
    model.load_state_dict({name: torch.tensor(value) for name, value in weights.items()})
    return provnet.trace(model, torch.tensor([[1.0, 2.0, 1.0]]))


@pytest.fixture(scope="module")
def images() -> provnet.Circuit:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(24, 4)).eval()
    return provnet.trace(model, torch.rand(2, 3, 5, 6))


def pictures(figure: Any) -> list[np.ndarray]:
    return [np.asarray(image.get_array()) for axes in figure.axes for image in axes.get_images()]


def test_channels_are_joined_and_every_example_has_a_picture(images: provnet.Circuit):
    found = images.evaluate("real")
    shown = pictures(found.plot(colorbar=False))
    assert len(shown) == 2
    np.testing.assert_allclose(shown[1], found.inputs[1].double().sum(0), rtol=1e-12)
    best = images.evaluate("viterbi")
    np.testing.assert_array_equal(pictures(best.plot(example=1))[0], best.inputs[1].double().amax(0))


def test_a_grid_has_a_column_for_each_result_and_the_input_beneath(images: provnet.Circuit):
    results = images.evaluate(["real", "viterbi", "boolean"])
    figure = provnet.plot(results, overlay=True, colorbar=False)
    assert [axes.get_title().partition(":")[0] for axes in figure.axes] == ["real", "viterbi", "boolean"] * 2
    assert [len(axes.get_images()) for axes in figure.axes] == [2] * 6


def test_features_are_bars_unless_a_shape_makes_a_picture_of_them():
    found = small().evaluate("real")
    (axes,) = found.plot(names=["age", "height", "$x_1$"]).axes
    assert [patch.get_height() for patch in axes.patches] == pytest.approx(found.inputs[0].tolist())
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["age", "height", r"\$x_1\$"]
    assert pictures(found.plot(shape=(1, 3)))[0].shape == (1, 3)


def test_colours_end_at_the_percentile_and_zero_is_in_the_middle():
    values = np.array([-1.0, 0.5, 0.25, 100.0])
    assert limits(get("real"), values) == (-100.0, 100.0)
    low, top = limits(get("real"), values, 50)
    assert (low, top) == (-0.75, 0.75)
    assert limits(get("tropical"), np.array([1.0, 3.0, np.inf])) == (1.0, 3.0)


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
def test_figures_are_saved(suffix: str, tmp_path: Any):
    small().evaluate("real").plot().savefig(tmp_path / f"r.{suffix}")
    assert (tmp_path / f"r.{suffix}").stat().st_size > 500


def test_what_is_no_picture_is_refused(images: provnet.Circuit):
    found = images.evaluate("real")
    for wrong in ({"shape": (7, 7)}, {"example": 9}, {"clip": 0}, {"cmap": "no such map"}):
        with pytest.raises(OptionError):
            found.plot(**wrong)
    with pytest.raises(UnsupportedOperationError):
        images.evaluate("signed").plot()


def test_drawings_show_values_aliases_and_keep_the_order():
    gates = small().gates(at="input[1]")
    source = gates.draw(values="viterbi", aliases={"2[0]": "yes", "input": ["a", 'b"<i>', "c"]}).source
    assert "ordering=in" in source and "yes" in source and "penwidth" in source
    assert 'b\\"<i>' in source
    with pytest.raises(LimitError, match="prune"):
        gates.draw(limit=2)
    assert gates.prune(keep=1).draw(limit=6).source
    blocks = small().draw().source
    assert "aten.addmm" in blocks or "linear" in blocks
    with pytest.raises(LimitError, match="summary"):
        small().draw(limit=1)


class Reader(HTMLParser):
    """Collects tags, and the text between them."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.texts: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.add(tag)

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


OURS = {"div", "table", "thead", "tbody", "tr", "th", "td", "pre", "span", "img"}


@settings(max_examples=200, deadline=None)
@given(st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\r\0"), max_size=40))
@pytest.mark.guarantee("no name can put markup into what a notebook shows")
def test_texts_are_escaped(name: str):
    found = Reader(card(name, [name], [name], [[name]], code=name) + coloured_tokens([name], [name], [(0, 0, 0)]))
    assert found.tags <= OURS
    if name.strip():
        assert sum(name in text for text in found.texts) >= 1


@pytest.mark.guarantee("every public result has a picture of itself for notebooks, and a repr that fits a terminal")
def test_every_result_shows_itself():
    circuit = small()
    gates = circuit.gates()
    relevance = circuit.evaluate("real")
    shown = [
        circuit, gates, gates.cone("input[1]"), gates.prune(keep=1), relevance, relevance.conservation(),
        circuit.summary(), circuit.plan(), gates.marginals("real"), gates.formula("input[1]"),
        gates.polynomial("input[1]"), get("viterbi"),
    ]  # fmt: skip
    for one in shown:
        assert "<div" in one._repr_html_(), type(one)
        assert len(repr(one)) < 4000 and max(map(len, repr(one).splitlines())) < 250, type(one)
    for one in (gates.formula("input[1]"), gates.polynomial("input[1]")):
        assert str(one._repr_latex_()).startswith("$")
    assert "data:image/png" in relevance._repr_html_()
    long = provnet.trace(perceptron(20, 20, 20, 2), torch.rand(1, 20)).gates(at="input[0]").formula()
    assert long._repr_latex_() is None and "⊕" in long._repr_html_()


def test_tokens_stand_on_the_colours_of_their_relevance():
    html = small().evaluate("real").token_html(["the", "<b>cat</b>", "sat"])
    assert "&lt;b&gt;cat" in html and 'title="0.462"' in html
    assert html.count("<span") == 3
    joined = provnet.trace(lambda x: x.sum((1, 2), keepdim=False).unsqueeze(1), torch.rand(1, 2, 4)).evaluate("real")
    assert joined.token_html(["a", "b"]).count("<span") == 2
