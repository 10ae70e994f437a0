"""Architectures as tests: importing this fills `tests.zoo.entries.ZOO`."""

from tests.zoo import attention, convolutional, graphs, pretrained, recurrent, shapes

__all__ = ["attention", "convolutional", "graphs", "pretrained", "recurrent", "shapes"]
