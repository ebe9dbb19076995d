"""Replicas of a model in processes of this machine, trained by ``DistributedDataParallel`` over gloo.

Each process is what ``torchrun`` starts, with a pipe to the process that asks.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import suppress
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection, wait
from threading import Thread
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from resnet_spec.backend.protocol import Gradients
from resnet_spec_torch import parameters, training
from resnet_spec_torch.compilation import compile_graph
from resnet_spec_torch.dtypes import autocast, chosen
from resnet_spec_torch.emitting import Options

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from resnet_spec.backend.dtypes import ModelDType
    from resnet_spec.backend.optimizers import Optimizer
    from resnet_spec.backend.protocol import Arrays, Batch
    from resnet_spec.graph import Graph


_HOST = "127.0.0.1"


class TorchReplicas:
    """The processes; see ``resnet_spec.backend.replicas.Replicas``. A model is the graph that they have compiled."""

    synchronized = True
    """Whether normalizations take their statistics from the whole batch."""

    def __init__(self, count: int) -> None:
        # spawn: a forked process would share the threads of the libraries, which do not survive it.
        context = get_context("spawn")
        # Port 0: any that is free.
        self._store = distributed.TCPStore(_HOST, 0, is_master=True, wait_for_workers=False)  # pyright: ignore[reportPrivateImportUsage]
        self._connections: list[Connection] = []
        threads = max(1, torch.get_num_threads() // count)
        for rank in range(count):
            ours, theirs = context.Pipe()
            arguments = rank, count, self._store.port, threads, theirs
            context.Process(target=_serve, args=arguments, daemon=True).start()
            theirs.close()
            self._connections.append(ours)
        self._answers()

    def compile(self, graph: Graph, *, dtype: ModelDType, exact_statistics: bool = False) -> Graph:
        """Compile a graph in every process, in place of the last one."""
        self._ask("compile", graph.to_json(), dtype, exact_statistics, self.synchronized)
        return graph

    def load(self, model: Graph, graph: Graph, arrays: Arrays) -> None:
        """Set every parameter in every process."""
        self._ask("load", {name: np.asarray(array) for name, array in arrays.items()})

    def arrays(self, model: Graph, graph: Graph) -> dict[str, NDArray[Any]]:
        """Return every parameter of the first process."""
        return self._ask("arrays")[0]

    def gradients(self, model: Graph, graph: Graph, images: NDArray[Any], targets: Sequence[NDArray[Any]]) -> Gradients:
        """Return the loss of the whole batch, the averaged gradients, and those of each process's images."""
        found: list[Gradients] = self._ask_each("gradients", self._parts(images, targets))
        of_images = np.concatenate([each.images for each in found]) / len(found)
        return Gradients(float(np.mean([each.loss for each in found])), found[0].parameters, of_images)

    def train(self, model: Graph, graph: Graph, batches: Iterable[Batch], optimizer: Optimizer) -> list[float]:
        """Take a step in every process for each batch."""
        self._send([("train", optimizer)] * len(self._connections))
        for images, targets in batches:
            self._ask_each("step", self._parts(images, targets))
        return np.mean(self._ask("end"), axis=0).tolist()

    def _parts(self, images: NDArray[Any], targets: Sequence[NDArray[Any]]) -> list[Batch]:
        count = len(self._connections)
        return [
            (part, list(own))
            for part, *own in zip(*(np.split(array, count) for array in (images, *targets)), strict=True)
        ]

    def _ask(self, command: str, *arguments: Any) -> list[Any]:
        """Ask every process the same, and return their answers in order."""
        self._send([(command, *arguments)] * len(self._connections))
        return self._answers()

    def _ask_each(self, command: str, arguments: Sequence[Sequence[Any]]) -> list[Any]:
        self._send([(command, *own) for own in arguments])
        return self._answers()

    def _send(self, messages: Sequence[tuple[Any, ...]]) -> None:
        for connection, message in zip(self._connections, messages, strict=True):
            # The answer says how a process ended that has closed its pipe.
            with suppress(OSError):
                connection.send(message)

    def _answers(self) -> list[Any]:
        """Wait for every process; at the first error end this one, too.

        The others may wait for the process that failed, so that none can go on; the caller starts this process again.
        """
        answers: dict[Any, Any] = {}
        while pending := [each for each in self._connections if each not in answers]:
            for connection in wait(pending):
                assert isinstance(connection, Connection)  # noqa: S101 - as given
                try:
                    error, answers[connection] = connection.recv()
                except (EOFError, OSError):
                    error = "its process has ended"
                if error:
                    raise SystemExit(f"a replica failed: {error}")
        return [answers[connection] for connection in self._connections]


class _Replica:
    """One of the processes: it answers requests about its model."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._module: nn.Module
        self._parallel: nn.Module | None = None
        self._graph: Graph

    def compile(self, graph: str, dtype: ModelDType, exact_statistics: bool, synchronized: bool) -> None:
        from resnet_spec.graph import Graph

        self._graph, self._parallel = Graph.from_json(graph), None
        options = Options(chosen(dtype), exact_statistics, synchronized, autocast=autocast(dtype))
        self._module = compile_graph(self._graph, options)

    def load(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        parameters.set_parameters(self._module, self._graph, arrays)
        if self._parallel is None:
            self._module.train()
            trains = any(parameter.requires_grad for parameter in self._module.parameters())
            self._parallel = (
                DistributedDataParallel(self._module, find_unused_parameters=True) if trains else self._module
            )

    def arrays(self) -> dict[str, NDArray[Any]]:
        return parameters.get_arrays(self._module, self._graph)

    def gradients(self, images: NDArray[Any], targets: Sequence[NDArray[Any]]) -> Gradients:
        return training.gradients(self._module, self._graph, images, targets, self._differentiate)

    def train(self, optimizer: Optimizer) -> list[float]:
        return training.train(self._module, self._graph, self._batches(), optimizer, self._differentiate)

    def _batches(self) -> Generator[Batch]:
        """Yield the batches that are sent, and answer what is asked between them."""
        while True:
            command, *arguments = self._connection.recv()
            if command == "end":
                return
            if command == "step":
                yield tuple(arguments)  # pyright: ignore[reportReturnType]
                self._connection.send(("", None))
            else:
                self.answer(command, *arguments)

    def answer(self, command: str, *arguments: Any) -> None:
        self._connection.send(("", getattr(self, command)(*arguments)))

    def _differentiate(
        self, model: nn.Module, batch: Tensor, targets: Sequence[NDArray[Any]], sources: Sequence[Tensor]
    ) -> tuple[float, Sequence[Tensor]]:
        """Return this process's loss, and the gradients that ``DistributedDataParallel`` averages over all."""
        assert self._parallel is not None  # noqa: S101 - loaded
        for source in sources:
            source.grad = None
        loss = training.loss(self._parallel, batch, targets)
        (loss * training.LOSS_SCALE).backward()  # pyright: ignore[reportUnknownMemberType]
        gradients = [torch.zeros_like(source) if source.grad is None else source.grad for source in sources]
        return loss.item(), [training.unscaled(gradient) for gradient in gradients]


def _serve(rank: int, count: int, port: int, threads: int, connection: Connection) -> None:
    """Answer requests until the pipe is closed."""
    # What a replica waits for, in a library's call, may be a process that has ended.
    Thread(target=_end_with_the_parent, daemon=True).start()
    try:
        torch.set_num_threads(threads)
        store = distributed.TCPStore(_HOST, port)  # pyright: ignore[reportPrivateImportUsage]
        distributed.init_process_group("gloo", store=store, rank=rank, world_size=count)
        replica = _Replica(connection)
        connection.send(("", None))
        while True:
            command, *arguments = connection.recv()
            replica.answer(command, *arguments)
    except (EOFError, ConnectionError, KeyboardInterrupt):
        return
    except Exception as error:
        # The asking process may have given up, after another replica's error.
        with suppress(OSError):
            connection.send((f"{type(error).__name__}: {error}", None))


def _end_with_the_parent() -> None:
    """End this process as soon as the one that started it has ended."""
    parent = parent_process()
    assert parent is not None  # noqa: S101 - multiprocessing started this process
    parent.join()
    os._exit(1)
