"""How many edges lead into a neuron, and how many leave it towards the target, shown or not."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from provnet.applications.inspection.answers import Answers
from provnet.applications.inspection.model import PageQuestion
from provnet.applications.inspection.network import Ints


class Degrees:
    """The numbers of edges at the neurons of a circuit; those that leave are kept by question."""

    def __init__(self, answers: Answers) -> None:
        self.answers = answers
        self._outputs: dict[tuple[int, int, str], Ints] = {}

    def inputs(self, question: PageQuestion, places: Sequence[tuple[int, int]]) -> list[int]:
        """Return how many edges lead into each neuron, shown or not."""
        found = [0] * len(places)
        by_layer: dict[int, list[int]] = {}
        for row, (layer, _) in enumerate(places):
            if layer in self.answers.network.maker:
                by_layer.setdefault(layer, []).append(row)
        for layer, mine in by_layer.items():
            block = self.answers.network.maker[layer]
            if self.answers.network.plain(block):
                counts = [self.answers.network.fan_in(layer)] * len(mine)
            else:
                outputs = np.array([places[row][1] for row in mine])
                fan = self.answers.network.fan_in(layer)
                counts = self.answers.present(question, block, outputs)[:, :fan].sum(1).tolist()
            for row, count in zip(mine, counts, strict=True):
                found[row] = int(count)
        return found

    def outputs(self, question: PageQuestion, activation: int) -> Ints:
        """Return how many edges leave each neuron of a tensor towards the target, unit edges followed up."""
        key = (activation, question.example, question.target)
        if key not in self._outputs:
            counts = np.zeros(self.answers.circuit.data.activations[activation].size, np.int64)
            for block, offset in self.answers.network.readers.get(activation, ()):
                into = self._fed_counts(question, block)
                counts += into[offset : offset + len(counts)]
            self._outputs[key] = counts
        return self._outputs[key]

    def _fed_counts(self, question: PageQuestion, number: int) -> Ints:
        """Return how many edges leave each input of a block."""
        network = self.answers.network
        block = network.data.blocks[number]
        size, wiring = self.answers.circuit.data.input_size(block), block.wiring
        counts = np.zeros(size, np.int64)
        step = max((1 << 20) // max(wiring.fan, 1), 1)
        if block.has_coefficients:
            reached = self.answers.reached(question, block.output)
            for start in range(0, wiring.positions, step):
                some = np.arange(start, min(start + step, wiring.positions))
                outputs = np.asarray(wiring.output(some, 0))
                found, present = network.slots(number, outputs)
                if not network.plain(number):
                    present = self.answers.present(question, number, outputs)[:, : wiring.fan]
                channels = np.asarray(wiring.output(some[:, None], np.arange(wiring.channels)))
                fed = np.broadcast_to(reached[channels].sum(1)[:, None], found.shape)
                counts += np.bincount(found[present], fed[present], size).astype(np.int64)
            return counts
        above = self.outputs(question, block.output)
        found, present = network.slots(number, np.arange(wiring.outputs))
        fed = np.broadcast_to(above[:, None], found.shape)
        return np.bincount(found[present], fed[present], size).astype(np.int64)
