"""Attention written as YAML blocks computes what timm's own modules compute, in float64 and in every backend.

CLIP's attention pool, the attention of a bottleneck transformer (BoTNet), and bilinear attention (BAT).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import resnet_spec
from resnet_spec.backend.registry import get_backend

from .torchvision_original import models

# timm imports torchvision, whose operators must be registered first.
models()

from timm.layers.attention_pool2d import AttentionPool2d  # noqa: E402
from timm.layers.bottleneck_attn import BottleneckAttn  # noqa: E402
from timm.layers.non_local_attn import BatNonLocalAttn  # noqa: E402

TOLERANCE = 1e-9
"""The largest difference, in standard deviations of the original's output."""

CLIP = """
name: clip_attention_pool
input: {channels: 16, height: 4, width: 5}
blocks:
  attention_pool:
    parameters: {heads: int, factor: number, features: int, size: in_height * in_width}
    main:
      flat: {reshape: {shape: [in_channels, size]}}
      tokens: {transpose: {axes: [1, 0]}}
      mean: {mean: {axis: 0}}
      all: {concat: {axis: 0}, from: [mean, tokens]}
      pos_embed: {offset: {shape: map}}
      qkv: {linear: {features: in_channels * 3}}
      query: {slice: {axis: 1, part: 0, parts: 3}, from: qkv}
      query_heads: {reshape: {shape: [size + 1, heads, in_channels // heads]}}
      q: {transpose: {axes: [1, 0, 2]}}
      key: {slice: {axis: 1, part: 1, parts: 3}, from: qkv}
      key_heads: {reshape: {shape: [size + 1, heads, in_channels // heads]}}
      k: {transpose: {axes: [1, 0, 2]}}
      value: {slice: {axis: 1, part: 2, parts: 3}, from: qkv}
      value_heads: {reshape: {shape: [size + 1, heads, in_channels // heads]}}
      v: {transpose: {axes: [1, 0, 2]}}
      scores: {matmul: {transpose_second: true, factor: factor}, from: [q, k]}
      attention: {softmax: {axis: 2}}
      mixed: {matmul: {}, from: [attention, v]}
      back: {transpose: {axes: [1, 0, 2]}}
      joined: {reshape: {shape: [size + 1, in_channels]}}
      proj: {linear: {features: features}}
      first: {slice: {axis: 0, stop: 1}}
      pooled: flatten
head:
  attnpool: {attention_pool: {heads: 4, factor: 0.5, features: 10}}
"""

BOTNET = """
name: botnet_attention
input: {channels: 16, height: 4, width: 5}
blocks:
  relative_logits:
    parameters: {heads: int, rows: int, size: int, dim: int, embedding: layer}
    main:
      table: embedding
      tables: {reshape: {shape: [1, 1, 2 * size - 1, dim]}}
      logits: {matmul: {transpose_second: true}, from: [input, tables]}
      flat: {reshape: {shape: [heads * rows, size, 2 * size - 1]}}
      column: {pad2d: {padding: [[0, 0], [0, 1]]}}
      line: {reshape: {shape: [heads * rows, 1, size * 2 * size]}}
      end: {pad2d: {padding: [[0, 0], [0, size - 1]]}}
      shifted: {reshape: {shape: [heads * rows, size + 1, 2 * size - 1]}}
      kept: {slice: {axis: 1, stop: size}}
      absolute: {slice: {axis: 2, start: size - 1}}
      rows: {reshape: {shape: [heads, rows, size, size]}}
  bottleneck_attention:
    parameters: {heads: int, dim: int, factor: number, h: in_height, w: in_width}
    main:
      qkv: {conv2d: {channels: heads * dim * 2 + in_channels, kernel: 1}}
      query: {slice: {stop: heads * dim}}
      query_heads: {reshape: {shape: [heads, dim, h * w]}}
      q: {transpose: {axes: [0, 2, 1]}}
      key: {slice: {start: heads * dim, stop: 2 * heads * dim}, from: qkv}
      k: {reshape: {shape: [heads, dim, h * w]}}
      value: {slice: {start: 2 * heads * dim}, from: qkv}
      v: {reshape: {shape: [heads, in_channels // heads, h * w]}}
      scores: {matmul: {factor: factor}, from: [q, k]}
      rows: {reshape: {shape: [heads, h, w, dim]}, from: q}
      pos_embed.w: {relative_logits: {heads: heads, rows: h, size: w, dim: dim, embedding: width_rel}}
      along_width: {reshape: {shape: [heads * h * w, 1, w]}}
      columns: {transpose: {axes: [0, 2, 1, 3]}, from: rows}
      pos_embed.h: {relative_logits: {heads: heads, rows: w, size: h, dim: dim, embedding: height_rel}}
      height: {transpose: {axes: [0, 2, 1, 3]}}
      along_height: {reshape: {shape: [heads * h * w, h, 1]}}
      relative: {add: {}, from: [along_width, along_height]}
      positions: {reshape: {shape: [heads, h * w, h * w]}}
      sum: {add: {}, from: [scores, positions]}
      attention: {softmax: {axis: 2}}
      mixed: {matmul: {transpose_second: true}, from: [v, attention]}
      map: {reshape: {shape: [in_channels, h, w]}}
layers:
  width_rel: {parameter: {shape: [9, 6]}}
  height_rel: {parameter: {shape: [7, 6]}}
stem:
  attention: {bottleneck_attention: {heads: 2, dim: 6, factor: 0.4082482904638631}}
"""

BAT = """
name: bilinear_attention
input: {channels: 32, height: 6, width: 9}
layers:
  norm: {batch_norm: {epsilon: 1e-5, momentum: 0.1, running_variance: unbiased}}
blocks:
  normalized:
    parameters: {channels: int}
    main:
      conv: {conv2d: {channels: channels, kernel: 1}}
      bn: norm
      act: relu
  probabilities:
    # A sigmoid over its sum along an axis is a softmax of the sigmoid's logarithm, -softplus(-x).
    parameters: {axis: int}
    main:
      zero: {subtract: {}, from: [input, input]}
      negative: {subtract: {}, from: [zero, input]}
      softplus: softplus
      logarithm: {subtract: {}, from: [zero, softplus]}
      softmax: {softmax: {axis: axis}}
  bilinear_transform:
    parameters: {groups: int, size: int, h: in_height, w: in_width, share: in_channels // groups}
    main:
      conv1: {normalized: {channels: groups}}
      widest: {max: {axis: 2}}
      rp: {max_pool2d: {kernel: [h // size, 1]}}
      conv_p: {conv2d: {channels: size * size * groups, kernel: [size, 1], bias: true}}
      p_logits: {reshape: {shape: [groups, 1, size, size]}}
      p: {probabilities: {axis: 3}}
      highest: {max: {axis: 1}, from: conv1}
      cp: {max_pool2d: {kernel: [1, w // size]}}
      conv_q: {conv2d: {channels: size * size * groups, kernel: [1, size], bias: true}}
      q_logits: {reshape: {shape: [groups, 1, size, size]}}
      q: {probabilities: {axis: 2}}
      # A matrix of multiples of the identity acts on blocks of rows, and of columns.
      row_blocks: {reshape: {shape: [groups, share, size, h * w // size]}, from: input}
      left: {matmul: {}, from: [p, row_blocks]}
      column_blocks: {reshape: {shape: [groups, share * h, size, w // size]}}
      turned: {transpose: {axes: [0, 1, 3, 2]}}
      rows: {reshape: {shape: [groups, 1, share * h * w // size, size]}}
      right: {matmul: {}, from: [rows, q]}
      blocks: {reshape: {shape: [groups, share * h, w // size, size]}}
      back: {transpose: {axes: [0, 1, 3, 2]}}
      map: {reshape: {shape: [in_channels, h, w]}}
      conv2: {normalized: {channels: in_channels}}
  bilinear_attention:
    parameters: {width: int}
    main:
      conv1: {normalized: {channels: width}}
      ba: {bilinear_transform: {groups: 2, size: 3}}
      conv2: {normalized: {channels: in_channels}}
      dropout: {dropout: {rate: 0.2}}
    shortcut: {}
stem:
  bat: {bilinear_attention: {width: 8}}
"""

RENAMED = {"pos_embed.w.table": "pos_embed.width_rel", "pos_embed.h.table": "pos_embed.height_rel"}

CASES: dict[str, tuple[str, str, Any]] = {
    "clip": (CLIP, "attnpool.", lambda: AttentionPool2d(16, (4, 5), 10, num_heads=4)),
    "botnet": (BOTNET, "attention.", lambda: BottleneckAttn(16, feat_size=(4, 5), num_heads=2, dim_head=6)),
    "bat": (BAT, "bat.", lambda: BatNonLocalAttn(32, block_size=3, groups=2, rd_channels=8)),
}


def original(make: Any) -> nn.Module:
    """A module of timm in float64, none of its arrays the one that would hide a mistake."""
    torch.manual_seed(0)
    module = make().double().eval()
    for name, tensor in module.state_dict().items():
        if tensor.is_floating_point():
            tensor.uniform_(0.5, 1.5) if name.endswith("running_var") else tensor.normal_(0, 0.5)
    return module


@pytest.mark.parametrize("name", CASES)
def test_a_block_computes_what_timm_computes(name: str, tmp_path: Path) -> None:
    text, prefix, make = CASES[name]
    (tmp_path / "network.yaml").write_text(text)
    graph = resnet_spec.load(tmp_path / "network.yaml").to_graph()
    module = original(make)
    state: Mapping[str, Any] = {key: tensor.numpy() for key, tensor in module.state_dict().items()}
    names = {p.name: p.name.removeprefix(prefix) for p in graph.parameters()}
    arrays = {ours: state[RENAMED.get(theirs, theirs)] for ours, theirs in names.items()}
    assert len(arrays) == sum(tensor.dtype == np.float64 for tensor in state.values())
    images = np.random.default_rng(1).standard_normal((3, *graph.input.shape))
    with torch.no_grad():
        wanted = module(torch.from_numpy(images)).numpy()
    for name_of_backend in ("torch", "tensorflow", "onnx"):
        backend = get_backend(name_of_backend)
        model = backend.compile(graph, dtype="float64")
        backend.load(model, graph, arrays)
        found = backend.forward(model, images)[-1]
        assert found.shape == wanted.shape
        assert np.abs(found - wanted).max() / wanted.std() < TOLERANCE, name_of_backend
