"""MultiWorkerMirroredStrategy on two workers of this machine: ``python -m tests.resnet_spec_tensorflow.two_workers``.

It prints by how much a step of theirs differs from one of a single device, as ``mirrored`` does for two devices of one
process, and how Keras' ``fit`` fails (https://github.com/keras-team/keras/issues/20585).
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

WORKERS = 2


def main() -> int:
    """Start the workers, and print what they found."""
    holds = [socket.create_server(("127.0.0.1", 0)) for _ in range(WORKERS)]
    addresses = [f"127.0.0.1:{hold.getsockname()[1]}" for hold in holds]
    for hold in holds:
        hold.close()
    processes = []
    for index in range(WORKERS):
        cluster = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
        environment = {**os.environ, "TF_CONFIG": json.dumps(cluster), "TF_CPP_MIN_LOG_LEVEL": "3"}
        command = [sys.executable, "-m", __spec__.name, str(index)]
        processes.append(subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL))
    try:
        statuses = [process.wait(timeout=600) for process in processes]
    finally:
        for process in processes:
            process.kill()
    return max(statuses)


def work(index: int) -> None:
    """What one worker does."""
    import tensorflow as tf

    # Before anything else of TensorFlow is used.
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    import keras
    import numpy as np

    from tests.resnet_spec_tensorflow.mirrored import BLOCKS, PARTS, built, differences

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for synchronized in (True, False):
            found = differences(strategy, folder, synchronized=synchronized, local=PARTS[index])
            what = "synchronized" if synchronized else "not synchronized"
            print(f"worker {index}, {what}: {json.dumps(found)}", flush=True)
        with strategy.scope():
            model = built(BLOCKS.replace("VARIANCE", "biased"), folder, synchronized=True)
            model.compile(keras.optimizers.SGD(0.1), "mse")
        try:
            model.fit(np.zeros((8, 6, 6, 3)), np.zeros((8, 5)), batch_size=8, verbose=0)
        except Exception as error:
            print(f"worker {index}, fit: {type(error).__name__}: {str(error).strip().splitlines()[-1]}", flush=True)
        else:
            print(f"worker {index}, fit: runs; the page on distributed training says otherwise", flush=True)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        work(int(sys.argv[1]))
    else:
        sys.exit(main())
