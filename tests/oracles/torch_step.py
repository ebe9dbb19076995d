"""One SGD step of our torch model, in its own process: ``torch_step.py SPEC WEIGHTS IMAGES RESULT RATE``."""

from __future__ import annotations

import sys

import numpy as np
import torch

import resnet_spec


def main() -> None:
    spec, weights, images, result, rate = sys.argv[1:]
    model = resnet_spec.build(spec, "torch", weights=weights, dtype="float64", exact_statistics=True).train()
    # Read as float32, so that both sides start from the same numbers.
    probabilities = model(torch.from_numpy(np.load(images)))
    coefficients = torch.linspace(-1, 1, probabilities.numel(), dtype=torch.float64).reshape(probabilities.shape)
    (probabilities * coefficients).sum().backward()
    torch.optim.SGD(model.parameters(), lr=float(rate)).step()
    state = {key: value.numpy() for key, value in model.state_dict().items() if "num_batches" not in key}
    np.savez(result, output=probabilities.detach().numpy(), **state)


if __name__ == "__main__":
    main()
