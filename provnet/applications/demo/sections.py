"""The sections of the report, each one function of the answers."""

from __future__ import annotations

from html import escape
from itertools import pairwise

import torch

from provnet.applications.demo.demo_answers import DemoAnswers
from provnet.applications.demo.demo_pictures import (
    Drawing,
    answer_picture,
    class_picture,
    curve,
    data_uri,
    digit_picture,
    image,
)
from provnet.applications.demo.demo_questions import DemoQuestion
from provnet.applications.demo.odds import SOURCE


def head(a: DemoAnswers) -> str:
    """What is shown, and the facts of the run."""
    net = "-".join(map(str, a.subject.sizes))
    facts = [
        (net, "perceptron with ReLU"),
        (f"{a.subject.accuracy:.1%}", f"right on {len(a.subject.labels)} held-out digits"),
        (f"{a.circuit.edges:,}", "edges, one variable each"),
        (f"{len(a.chosen)}", "digits explained"),
        (f"{len(a.questions)}", "questions, one circuit"),
    ]
    items = "".join(f"<li><b>{escape(b)}</b><span>{escape(s)}</span></li>" for b, s in facts)
    return f"""<h1>One circuit, many answers</h1>
<p class="lead">A small network names handwritten digits. One run of it is recorded as a circuit of ⊕ and ⊗ over one
variable
for each connection. The circuit is built once; each semiring that it is evaluated in answers another question about
the same run.</p>
<p>{escape(a.subject.title)}; the network was {escape(a.subject.origin)}. All that is explained is the class that the
network names.</p>
<ul class="facts">{items}</ul>
<nav><a href="#answers">The answers</a><a href="#digits">Every digit</a><a href="#classes">Other classes</a><a
href="#threshold">The
threshold</a><a href="#formula">Formula and circuit</a><a href="#own">A semiring of your own</a><a
href="#checks">Conservation and
checks</a><a href="#time">Time</a></nav>"""


def answers_table(a: DemoAnswers) -> str:
    """One digit, seven questions in words, seven pictures with a number beside each."""
    rows = "".join(_answer_row(a, q) for q in a.questions)
    return f"""<h2 id="answers">One digit, seven questions</h2>
<p>This {a.label(0)} was named {a.predicted[0]} (logit {float(a.logits[0, a.predicted[0]]):.2f}).
{image(digit_picture(a, 0), f"a handwritten {a.label(0)}")}</p>
<p>Along a path from a pixel to the answer the edges' elements are joined by ⊗, and the paths by ⊕. What an edge's
element is, the
last column says: d = a·w / z is the share that an input has in its neuron's sum z, p = a·w the contribution itself.</p>
<div class="wide"><table><thead><tr><th>question</th><th>answer</th><th>number</th><th>semiring</th><th>an edge's
element</th></tr></thead>
<tbody>{rows}</tbody></table></div>
<p class="pale">A picture's colours run from its own least to its own greatest element:
<span class="key" style="background:linear-gradient(90deg,#f7f7f5,#fee090,#f46d43,#a50f37,#400828)"></span> nothing to
most; shares of the
answer, which have a sign, <span class="key"
style="background:linear-gradient(90deg,#143a82,#4382c4,#f7f7f5,#e26446,#8c1028)"></span> the
other sign than the answer's, to its own.</p>"""


def _answer_row(a: DemoAnswers, q: DemoQuestion) -> str:
    picture = image(answer_picture(a, q, 0), f"{q.name} relevance of a {a.label(0)}")
    return (
        f"<tr><td>{escape(q.words)}<br><small>{escape(q.shows)}</small></td><td>{picture}</td>"
        f'<td><span class="big">{escape(q.spoken(a.of(q, 0)))}</span><br><small>{escape(q.measure)}</small></td>'
        f"<td><b>{escape(q.name)}</b><br>{escape(q.algebra)}</td><td>{escape(q.theta)}</td></tr>"
    )


def every_digit(a: DemoAnswers) -> str:
    """The grid: a row for each digit, a column for each semiring, a number under each picture."""
    header = "".join(f"<th>{escape(q.name)}<small>{escape(q.measure)}</small></th>" for q in a.questions)
    rows = []
    for k in range(len(a.chosen)):
        right = "" if a.label(k) == a.predicted[k] else f" (it is a {a.label(k)})"
        digit = image(digit_picture(a, k), f"digit {a.label(k)}")
        first = f'<td>{digit}<span class="number">named {a.predicted[k]}{right}</span></td>'
        cells = "".join(
            f'<td>{image(answer_picture(a, q, k), f"{q.name} of digit {a.label(k)}")}<span class="number">'
            f"{escape(q.spoken(a.of(q, k)))}</span></td>"
            for q in a.questions
        )
        rows.append(f"<tr>{first}{cells}</tr>")
    return f"""<h2 id="digits">Every digit in every semiring</h2>
<p>All {len(a.chosen)} digits are examples of one batch: one trace, and one walk for all seven semirings.</p>
<div class="wide"><table
class="grid"><thead><tr><th>digit</th>{header}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>"""


def other_classes(a: DemoAnswers) -> str:
    """The first digit asked about every class: the answers differ at a good threshold, and not at 1e-9."""
    strips = []
    ink = int((a.subject.inputs[a.chosen[0]] > 0).sum())
    for name, words in (
        (
            "real",
            "The real semiring, started at each class's own logit, which may be negative: what raises it is red, what "
            "lowers it blue. Below: the pixels' sum, which is the logit but for the biases' part.",
        ),
        (
            "boolean",
            f"Boolean at θ = {a.search.theta:g}: which pixels reach each class over strong edges. Below: how many.",
        ),
        ("boolean at 1e-9", f"Boolean at θ = 1e-9: every class gets the same answer, the {ink} pixels that have ink."),
    ):
        found = a.classes[name]
        figures = "".join(
            f'<figure class="{"named" if t == a.predicted[0] else ""}">{image(class_picture(a, name, t), f"class {t}")}'
            f"<figcaption>{t}: {_sum(found[t])}</figcaption></figure>"
            for t in range(len(found))
        )
        strips.append(f'<p>{escape(words)}</p><div class="strip">{figures}</div>')
    return f"""<h2 id="classes">The same digit, another class</h2>
<p>A target need not be the class that was named (outlined). Ten targets are ten starts of one
circuit.</p>{"".join(strips)}"""


def _sum(relevance: torch.Tensor) -> str:
    return str(int(relevance.sum())) if relevance.dtype == torch.bool else f"{float(relevance.sum()):.2f}"


def threshold(a: DemoAnswers) -> str:
    """How the threshold of Boolean and counting was chosen."""
    s, k = a.search, a.search.best
    return f"""<h2 id="threshold">How the threshold was chosen</h2>
<p>A pixel is relevant at θ if a path leads from it to the class of which every edge has a share d ≥ θ. The
<b>Bottleneck</b> semiring gives
the largest such θ for each pixel, so one evaluation of {s.digits} held-out digits answers all {len(s.grid)}
thresholds of the grid.</p>
<figure>{curve(s)}<figcaption>Dashed: the share of pixels that the answers for two digits have in common, for two
of <span style="color:#e2603f">the same class</span> and of <span style="color:#4382c4">different classes</span>.
Green: how often <span
style="color:#2a9d55">the former have more in common</span> than the latter. Dotted: the share of ink that is
relevant.</figcaption></figure>
<p>Taken is the θ where the green curve is highest, for there the answer tells most about the class: <b>θ =
{s.theta:g}</b>. There, two digits of
one class have more in common than two of different classes in {s.apart[k]:.1%} of the cases, and {s.relevant[k]:.0%}
of the ink is relevant. At
θ = {s.grid[0]:g}, where the answer is just the ink, it is {s.apart[0]:.1%} of the cases.</p>"""


def formula(a: DemoAnswers, drawing: Drawing) -> str:
    """The formula and the drawn circuit of one pixel."""
    cone = a.cone
    side = a.subject.images.shape[-1]
    pixel = cone.pixel.index[0]
    drawn = (
        f'<img class="drawn" src="{data_uri(drawing.svg, "image/svg+xml")}" alt="circuit of {escape(str(cone.pixel))}">'
        if drawing.svg
        else f"<pre>{escape(drawing.files[0].read_text('utf-8'))}</pre>"
    )
    missing = "".join(f'<p class="note">{escape(text)}</p>' for text in drawing.missing)
    text = cone.gates.formula().text()
    return f"""<h2 id="formula">The circuit itself</h2>
<p>Left abstract, the relevance of a pixel is a formula over the edges' variables: <code>{escape(_example(a))}</code>
is the edge that leads
to the first neuron from the second. For the pixel in row {pixel // side}, column {pixel % side}, which is
<code>{escape(str(cone.pixel))}</code>, the whole
formula joins {cone.whole_paths:,} paths by {cone.whole_gates:,} gates. Kept here are the edges with d ≥
{a.search.theta:g}: {cone.gates.formula().terms} paths,
{len(cone.gates)} gates.</p>
<pre>{escape(text)}</pre>
<figure>{drawn}<figcaption>The same as a circuit: variables below (yellow), products red, the sum blue, the pixel on
top. The small number at a
wire is its place among the operands.</figcaption></figure>{missing}"""


def _example(a: DemoAnswers) -> str:
    left = a.cone.gates.formula().variables  # none, if no edge of the first digit reaches the threshold
    return left[0] if left else a.cone.gates.variables[0].name


def own_semiring() -> str:
    """The semiring that the demo defines, as code."""
    return f"""<h2 id="own">A semiring of your own</h2>
<p>The last of the seven is not part of provnet. This is all of it; zero, one, annihilation and the stated flags are
checked when it is made.</p>
<pre>{escape(SOURCE.rstrip())}</pre>
<p>A step of strength x has odds of 1/x − 1 to one against it. Viterbi multiplies strengths, this one adds up odds: it
forgives many weak
steps more readily.</p>"""


def checks(a: DemoAnswers) -> str:
    """Conservation layer by layer, and the theorems that tie the answers together, tried on this run."""
    report = a.relevance["real"].conservation()
    rows = "".join(
        f'<tr><td><code>{escape(layer.path)}</code></td><td class="n">{_first(layer.came)}</td>'
        f'<td class="n">{_first(layer.passed)}</td>'
        f'<td class="n">{_first(layer.bias)}</td><td class="n">{_first(layer.lost)}</td></tr>'
        for layer in report.layers
    )
    whole = (
        f'<tr><td><b>all</b></td><td class="n">{_first(report.start)}</td><td class="n">{_first(report.inputs)}</td>'
        f'<td class="n">{_first(report.sinks)}</td><td></td></tr>'
    )
    facts = "".join(f"<tr><td>{escape(law)}</td><td>{escape(found)}</td></tr>" for law, found in laws(a))
    return f"""<h2 id="checks">Conservation, and how the answers hang together</h2>
<p>In the real semiring nothing is made or lost: what comes to a layer is passed on or taken by its biases. The first
digit, from the answer down:</p>
<div class="wide"><table><thead><tr><th>layer</th><th class="n">came</th><th class="n">passed on</th><th
class="n">taken by biases</th><th class="n">lost
(rounding)</th></tr></thead><tbody>{rows}{whole}</tbody></table></div>
<p>Theorems that tie the semirings together, tried on all {len(a.chosen)} digits of this run:</p>
<div class="wide"><table><tbody>{facts}</tbody></table></div>"""


def _first(x: torch.Tensor | None) -> str:
    return "–" if x is None else f"{float(x.reshape(-1)[0]):.6f}".replace("-0.000000", "0.000000")


def laws(a: DemoAnswers) -> list[tuple[str, str]]:
    """Return (what must hold, what was found) for this run."""
    r = {name: result.inputs for name, result in a.relevance.items()}
    theta = a.search.theta
    reached = r["viterbi"] > 0
    gap = float((-r["viterbi"][reached].log() - r["tropical"][reached]).abs().max())
    off = a.relevance["real"].conservation().residual()
    return [
        ("Boolean is counting > 0", _says(torch.equal(r["boolean"], r["counting"] > 0))),
        (f"Boolean at θ is Bottleneck ≥ θ (θ = {theta:g})", _says(torch.equal(r["boolean"], r["bottleneck"] >= theta))),
        ("tropical is −log of Viterbi", f"largest difference {gap:.1e}"),
        ("real: pixels and biases together make 1", f"off by {off:.1e} at most"),
        ("odds are never worse than Viterbi", _says(bool((r["odds"] >= r["viterbi"] * (1 - 1e-5)).all()))),
    ]


def _says(holds: bool) -> str:
    return "holds on every pixel" if holds else "FAILS"


def times(a: DemoAnswers) -> str:
    """How long each step took."""
    rows = "".join(
        f'<tr><td>{escape(name)}</td><td class="n">{1000 * s:,.1f} ms</td></tr>' for name, s in a.seconds.items()
    )
    return f"""<h2 id="time">Time</h2>
<p>On this machine, once, {torch.get_num_threads()} threads; the first evaluation also makes what the others share.</p>
<div class="wide" style="max-width:36rem"><table><tbody>{rows}</tbody></table></div>"""


def lines(a: DemoAnswers) -> str:
    """Return the program that gets these answers, for a `model` and an `x` that are there."""
    shape = ", ".join(f"{i}-{o}" for i, o in pairwise(a.subject.sizes))
    return f"""import provnet

# model: layers {shape}
# x: [{len(a.chosen)}, {a.subject.sizes[0]}]
circuit = provnet.trace(model, x)
circuit.evaluate("viterbi").inputs                     # the strongest path from each pixel
circuit.evaluate("boolean", annotation=provnet.annotations.Threshold({a.search.theta:g})).inputs
circuit.evaluate("real", target=3).conservation()      # another class, and where its relevance went
circuit.evaluate("real", target=3, start="logit").inputs    # red for the class, blue against it
circuit.gates(at=("{a.circuit.sources[0]}", {a.cone.pixel.index[0]})).formula()        # left abstract
"""


def again(a: DemoAnswers) -> str:
    """The lines that get these answers."""
    code = lines(a)
    return f"""<h2 id="again">The lines behind this page</h2><pre>{escape(code)}</pre>
<p>The table of all answers is beside this page as <code>answers.csv</code> and <code>answers.json</code>, the
pictures in <code>heatmaps/</code>.</p>"""
