"""Quantises an ONNX file to 8-bit integers with ONNX Runtime's static quantisation."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx
import torch
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from torch import Tensor

from fitnets.exporting.graphs import quiet

_BATCH = 50
_OPERATORS = ["Conv", "Gemm", "MatMul"]


class _Images(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, images: Tensor):
        self.batches: Iterator[Tensor] = iter(torch.split(images, _BATCH))

    def get_next(self) -> dict[str, Any] | None:
        batch = next(self.batches, None)
        return None if batch is None else {"images": batch.numpy()}


def quantise(source: Path, target: Path, images: Tensor) -> None:
    """Write a file whose network computes convolutions and matrix products in 8 bits; its preprocessing is unchanged.

    source, target: ONNX files
    images: raw images (N, C, H, W), uint8, from which the ranges of activations are measured
    """
    with quiet("root"):  # ONNX Runtime logs advice to do the next step
        _quantise(source, target, images)


def _quantise(source: Path, target: Path, images: Tensor) -> None:
    inferred = target.with_suffix(".inferred.onnx")
    quant_pre_process(source, inferred, skip_symbolic_shape=True)
    preprocessing = [
        node.name for node in onnx.load(inferred).graph.node if node.op_type in _OPERATORS and not _is_in_network(node)
    ]
    quantize_static(
        inferred,
        target,
        _Images(images),
        quant_format=QuantFormat.QDQ,
        op_types_to_quantize=_OPERATORS,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        nodes_to_exclude=preprocessing,
    )
    inferred.unlink()


def _is_in_network(node: onnx.NodeProto) -> bool:
    scopes = [item.value for item in node.metadata_props if item.key == "pkg.torch.onnx.name_scopes"]
    return any("'network'" in scope for scope in scopes)
