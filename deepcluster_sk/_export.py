"""A fitted estimator as one program for other runtimes: scaling, network and probabilities."""

import copy
import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from deepcluster_sk._scaling import directions


class Predictor(nn.Module):
    """From samples as the user has them to the probabilities of ``predict_proba``."""

    offset: Tensor

    def __init__(self, estimator: Any) -> None:
        super().__init__()
        own = copy.deepcopy(estimator.module_).cpu().requires_grad_(False)
        self.network = own.to(memory_format=torch.contiguous_format)
        self.represent, self.regrouped = estimator._represent, estimator._regrouped
        self.scale, self.to_unit = float(estimator._scaling.scale), estimator._scaling.to_unit
        self.register_buffer("offset", torch.as_tensor(estimator._scaling.offset, dtype=torch.float64))

    def forward(self, batch: Tensor) -> Tensor:
        """Probabilities (n, n_clusters) of samples (n, c, h, w) or (n, n_features), float32, not scaled."""
        exact = directions(batch) if self.to_unit else batch.double()
        scaled = ((exact - self.offset) / self.scale).float()
        return self.regrouped(*self.represent(self.network, scaled))


def export(estimator: Any, path: str | os.PathLike[str]) -> None:
    """Write the program to ``path``, in the format that its ending names."""
    ending = Path(path).suffix
    if ending not in (".pt2", ".onnx"):
        raise ValueError(f"path={os.fspath(path)!r} must end in .pt2 or .onnx.")
    predictor = Predictor(estimator).eval()
    example = (torch.zeros(2, *estimator._sample_shape, dtype=torch.float32),)
    shapes = ({0: torch.export.Dim("n_samples", min=1)},)
    with torch.no_grad():
        if ending == ".pt2":
            torch.export.save(torch.export.export(predictor, example, dynamic_shapes=shapes), path)
            return
        if not all(map(find_spec, ("onnx", "onnxscript"))):
            raise ImportError('path ends in .onnx, which needs pip install "deepcluster_sk[onnx]".')
        torch.onnx.export(
            predictor,
            example,
            path,
            input_names=["samples"],
            output_names=["probabilities"],
            dynamic_shapes=shapes,
            dynamo=True,
            external_data=False,
        )
