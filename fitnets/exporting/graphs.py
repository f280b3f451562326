"""Traces networks as graphs that run elsewhere, with or without the preprocessing of their images."""

import logging
import warnings
from pathlib import Path

import onnx
import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from fitnets.config import Dataset, image_shape
from fitnets.data import preprocessing
from fitnets.data.preprocessing import FittedPreprocessing
from fitnets.models.network import Network

_EXAMPLES = 2
"""Batch size for tracing. With a batch of one, the exporter would fix the batch size at 1."""


class WithPreprocessing(nn.Module):
    """Maps raw images (N, C, H, W), uint8, to logits (N, classes).

    fitted: values that the preprocessing learnt, such as the mean image
    """

    def __init__(self, network: Network, dataset: Dataset, fitted: FittedPreprocessing):
        super().__init__()
        self.network = network
        self.pixel_max = dataset.pixel_max
        self.preprocessing = dataset.preprocessing
        self.image_shape = image_shape(dataset)
        for name, values in fitted.items():
            self.register_buffer(name, values)

    def forward(self, images: Tensor) -> Tensor:
        fitted = dict(self.named_buffers(recurse=False))
        prepared = preprocessing.apply(self.preprocessing, fitted, images.float() / self.pixel_max)
        logits: Tensor = self.network(prepared)[0]
        return logits

    def example(self, count: int = _EXAMPLES) -> Tensor:
        generator = torch.Generator().manual_seed(0)
        size = (count, *self.image_shape)
        return torch.randint(0, int(self.pixel_max) + 1, size, dtype=torch.uint8, generator=generator)


class NetworkOnly(nn.Module):
    """Maps preprocessed images (N, C, H, W) to logits (N, classes), to compare the speed of networks alone."""

    def __init__(self, network: Network, image_shape: tuple[int, int, int]):
        super().__init__()
        self.network = network
        self.image_shape = image_shape

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.network(images)[0]
        return logits

    def example(self, count: int = _EXAMPLES) -> Tensor:
        return torch.rand(count, *self.image_shape, generator=torch.Generator().manual_seed(0))


Graph = WithPreprocessing | NetworkOnly


@torch.no_grad()
def program(graph: Graph) -> ExportedProgram:
    """Trace a graph for batches of any size."""
    return torch.export.export(graph.eval(), (graph.example(),), dynamic_shapes={"images": {0: Dim("batch")}})


def write_onnx(traced: ExportedProgram, path: Path, metadata: dict[str, str]) -> None:
    """Write an ONNX file with the input `images` and the output `logits`.

    metadata: entries of the file's metadata
    """
    for name in ("torch.onnx", "onnxscript", "onnx_ir"):  # these log progress, and that torchvision is missing
        logging.getLogger(name).setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter itself makes deprecated calls
        exported = torch.onnx.export(
            traced, input_names=["images"], output_names=["logits"], dynamo=True, verbose=False
        )
    assert exported is not None
    model = exported.model_proto
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    onnx.helper.set_model_props(model, metadata)
    onnx.checker.check_model(model)
    onnx.save(model, path)
