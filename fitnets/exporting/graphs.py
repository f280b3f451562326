"""Traces networks as graphs that run elsewhere, with or without the preprocessing of their images."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import onnx
import torch
from torch.export import Dim, ExportedProgram

from fitnets.models.raw_images import NetworkOnly, WithPreprocessing

_STACK_TRACE = "pkg.torch.onnx.stack_trace"
"""metadata of a node that names files of this machine"""
Graph = WithPreprocessing | NetworkOnly


@torch.no_grad()
def program(graph: Graph) -> ExportedProgram:
    """Trace a graph for batches of any size."""
    return torch.export.export(graph.eval(), (graph.example(),), dynamic_shapes={"images": {0: Dim("batch")}})


def write_onnx(traced: ExportedProgram, path: Path, metadata: dict[str, str]) -> None:
    """Write an ONNX file with the input `images` and the output `logits`.

    metadata: entries of the file's metadata
    """
    with quiet("torch.onnx", "onnxscript", "onnx_ir"), warnings.catch_warnings():  # they log their progress
        warnings.simplefilter("ignore")  # the exporter itself makes deprecated calls
        exported = torch.onnx.export(
            traced, input_names=["images"], output_names=["logits"], dynamo=True, verbose=False
        )
    assert exported is not None
    model = exported.model_proto
    for node in [*model.graph.node, *(node for function in model.functions for node in function.node)]:
        kept = [item for item in node.metadata_props if item.key != _STACK_TRACE]
        del node.metadata_props[:]
        node.metadata_props.extend(kept)
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    onnx.helper.set_model_props(model, metadata)
    onnx.checker.check_model(model)
    onnx.save(model, path)


@contextmanager
def quiet(*loggers: str) -> Iterator[None]:
    """Let these loggers report errors alone inside the block."""
    levels = {name: logging.getLogger(name).level for name in loggers}
    for name in loggers:
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
