"""Orbax's folders are read by TensorStore; ``made/make_flax.py`` made them with orbax-checkpoint 0.12.8."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from resnet_spec import BackendError, WeightsError
from resnet_spec.weights.formats import orbax
from resnet_spec.weights.reading import read_checkpoint
from tests.needs import need, posix

Lines = Callable[..., list[str]]

MADE = Path(__file__).parents[1] / "made"

ITEM = {"standard": "standard", "zarr": "zarr", "zarr3": "zarr3", "manager": "manager/1/default"}
"""Where the arrays of each folder are: OCDBT, plain zarr, zarr 3 in OCDBT, and the steps of a CheckpointManager."""


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    need("tensorstore")
    shutil.unpack_archive(MADE / "orbax.zip", tmp_path / "orbax")
    return tmp_path / "orbax"


@pytest.mark.parametrize("layout", ITEM)
def test_every_layout_that_the_library_wrote(folders: Path, layout: str) -> None:
    checkpoint = read_checkpoint(folders / layout)
    tensors = checkpoint.tensors

    assert sorted(tensors) == [
        "batch_stats/bn_init/mean", "opt_state/0/count", "params/Dense_0/bias", "params/conv_init/kernel", "step",
    ]  # fmt: skip
    assert np.array_equal(tensors["params/conv_init/kernel"], np.arange(24, dtype="f4").reshape(2, 2, 3, 2))
    # Sevenths in bfloat16 are 0x3E12 and 0x3E92.
    sevenths = np.array([0, 0x3E120000, 0x3E920000], "uint32").view("float32")
    assert np.array_equal(tensors["params/Dense_0/bias"], sevenths)
    assert checkpoint.widened == {"params/Dense_0/bias"}
    assert tensors["batch_stats/bn_init/mean"].dtype == "float16"
    assert (int(tensors["step"]), int(tensors["opt_state/0/count"])) == (7, 3)
    assert all(tensor.flags.writeable for tensor in tensors.values())


def test_a_step_and_its_item_are_found(folders: Path) -> None:
    for path in (folders / "manager", folders / "manager/1", folders / "manager/1/default"):
        assert len(read_checkpoint(path).tensors) == 5


def test_of_several_steps_none_is_guessed(folders: Path, lines: Lines) -> None:
    shutil.copytree(folders / "manager/1", folders / "manager/20")
    names = f"{Path('1/default')}, {Path('20/default')}"

    assert lines(lambda: read_checkpoint(folders / "manager")) == [
        f"{folders / 'manager'}: holds several Orbax checkpoints ({names}); give the path of one"
    ]


def test_tensorstore_is_an_extra(folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorstore", None)
    with pytest.raises(BackendError, match=r"standard: reading .* needs TensorStore: .*resnet-spec\[orbax\]"):
        read_checkpoint(folders / "standard")


@posix
@pytest.mark.parametrize("layout", ["standard", "zarr"])
def test_a_link_out_of_the_folder_is_refused(folders: Path, lines: Lines, layout: str) -> None:
    folder = folders / layout
    inner = next(path for path in sorted(folder.rglob("*")) if path.parent != folder and path.is_file())
    outside = inner.rename(folders / "outside")
    inner.symlink_to(outside)

    assert lines(lambda: read_checkpoint(folder)) == [
        f"{folder}: refused: its {inner.relative_to(folder)} is a link out of the folder"
    ]


@posix
def test_an_item_that_is_a_link_out_of_the_folder_is_refused(folders: Path, lines: Lines) -> None:
    step = folders / "step"
    step.mkdir()
    (step / "default").symlink_to(folders / "standard")

    assert lines(lambda: read_checkpoint(step)) == [f"{step}: refused: its default is a link out of the folder"]


@posix
def test_a_pipe_is_refused_and_not_waited_for(folders: Path, lines: Lines) -> None:
    (folders / "standard/manifest.ocdbt").unlink()
    os.mkfifo(folders / "standard/manifest.ocdbt")

    assert lines(lambda: read_checkpoint(folders / "standard")) == [
        f"{folders / 'standard'}: refused: its manifest.ocdbt is not a regular file"
    ]


def rewritten(folders: Path, change: Callable[[dict[str, Any]], None], file: str) -> None:
    path = folders / file
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def test_an_array_that_claims_terabytes_is_refused(folders: Path, lines: Lines) -> None:
    """Chunks that are not there are zeros, of which a file could have any number."""
    array = "params.conv_init.kernel/.zarray"
    rewritten(folders / "zarr", lambda content: content.update(shape=[2**20, 2**20, 3, 2]), array)

    (line,) = lines(lambda: read_checkpoint(folders / "zarr"))
    assert line.startswith(f"{folders / 'zarr'}: refused: params/conv_init/kernel claims 26,388,279,066,624 bytes")


def test_a_chunk_that_claims_terabytes_is_refused(folders: Path, lines: Lines) -> None:
    array = "params.conv_init.kernel/.zarray"
    rewritten(folders / "zarr", lambda content: content.update(chunks=[2**20, 2**20, 3, 2]), array)

    assert "refused: params/conv_init/kernel claims" in lines(lambda: read_checkpoint(folders / "zarr"))[0]


@pytest.mark.parametrize(
    "keys",
    [["..", "standard", "step"], ["../standard/step"], ["/etc"], ["params", "..", "..", "x"]],
)
def test_a_name_that_leads_out_of_the_folder_is_refused(folders: Path, lines: Lines, keys: list[str]) -> None:
    def change(content: dict[str, Any]) -> None:
        entry = content["tree_metadata"]["('step',)"]
        entry["key_metadata"] = [{"key": key, "key_type": 2} for key in keys]

    rewritten(folders, change, "zarr/_METADATA")

    assert lines(lambda: read_checkpoint(folders / "zarr"))[0].startswith(f"{folders / 'zarr'}: ")


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"tree_metadata": []}', '{"tree_metadata": {"a": 1}}', "[" * 10**5]
)
def test_what_is_no_list_of_arrays_is_refused(folders: Path, lines: Lines, text: str) -> None:
    (folders / "standard/_METADATA").write_text(text)
    (line,) = lines(lambda: read_checkpoint(folders / "standard"))

    assert line.startswith(f"{folders / 'standard'}: is not a complete Orbax checkpoint (")


def test_a_list_that_is_too_long_is_not_read(folders: Path, lines: Lines, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(orbax, "MAX_METADATA", 10)

    assert "its _METADATA is too long" in lines(lambda: read_checkpoint(folders / "standard"))[0]


def test_pieces_that_may_be_lost_are_a_warning_in_older_folders(folders: Path, lines: Lines) -> None:
    """Those do not have pieces that are zeros, so that a lost one does not show."""
    folder = folders / "zarr"
    (folder / "params.conv_init.kernel/0.0.0.0").unlink()
    reason = "is not a complete Orbax checkpoint (params/conv_init/kernel: it or a piece of it is missing)"
    assert lines(lambda: read_checkpoint(folder)) == [f"{folder}: {reason}"]

    rewritten(folders, lambda content: content.pop("store_array_data_equal_to_fill_value"), "zarr/_METADATA")
    found = read_checkpoint(folder)
    assert not found.tensors["params/conv_init/kernel"].any()
    assert found.remarks == (f"{orbax.LACKING}: 'params/conv_init/kernel'",)


def test_an_older_folder_that_is_whole_has_no_remark(folders: Path) -> None:
    rewritten(folders, lambda content: content.pop("store_array_data_equal_to_fill_value"), "standard/_METADATA")
    assert read_checkpoint(folders / "standard").remarks == ()


def test_an_array_of_a_type_that_numpy_lacks_is_named(folders: Path) -> None:
    import tensorstore

    place = folders / "zarr/opt_state.0.count"
    shutil.rmtree(place)
    spec = {"driver": "zarr", "kvstore": {"driver": "file", "path": f"{place}/"}}
    array = tensorstore.open(spec, create=True, dtype=tensorstore.int4, shape=[2]).result()
    array.write(np.ones(2, tensorstore.int4.numpy_dtype)).result()
    found = read_checkpoint(folders / "zarr")
    assert found.unreadable == {"opt_state/0/count": "int4"}
    assert len(found.tensors) == 4


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"tree_metadata": null}', "a part of it is not what the format has in its place"),
        ("{}", "it lacks 'tree_metadata'"),
        ("{", "its _METADATA is not JSON: "),
        (
            '{"tree_metadata": {"a": {"value_metadata": {"skip_deserialize": false, "value_type": "x"},'
            ' "key_metadata": [{"key": "absent"}]}}}',
            "absent: it or a piece of it is missing)",
        ),
    ],
)
def test_messages_are_the_formats_and_not_pythons(folders: Path, lines: Lines, text: str, reason: str) -> None:
    (folders / "standard/_METADATA").write_text(text)
    (line,) = lines(lambda: read_checkpoint(folders / "standard"))
    assert line.startswith(f"{folders / 'standard'}: is not a complete Orbax checkpoint ({reason}")


@pytest.mark.parametrize("name", ["_METADATA", "manifest.ocdbt"])
def test_a_file_of_the_folder_is_refused_with_the_folders_name(folders: Path, lines: Lines, name: str) -> None:
    folder = folders / "standard"
    said = f"{folder / name}: is a part of an Orbax checkpoint; give its folder, {folder}"
    assert lines(lambda: read_checkpoint(folder / name)) == [said]


@pytest.mark.parametrize("layout", ["standard", "zarr", "zarr3"])
def test_missing_and_truncated_files_are_refused(folders: Path, layout: str) -> None:
    """All except those that describe how the folder was made."""
    unread = {"_CHECKPOINT_METADATA", "_sharding", "commit_success.txt", "process_0"}
    folder = folders / layout
    whole = read_checkpoint(folder).tensors
    said: list[str] = []
    for path in sorted(folder.rglob("*")):
        if path.is_dir() or path.name in unread:
            continue
        content = path.read_bytes()
        for part in [None, *range(10)]:
            path.unlink()
            if part is not None:
                path.write_bytes(content[: len(content) * part // 10])
            try:
                tensors = read_checkpoint(folder).tensors
            except WeightsError as error:
                said.append(str(error))
            else:
                # Some data files are left over from before they were merged.
                assert all(np.array_equal(tensors[name], array) for name, array in whole.items())
            path.write_bytes(content)
    assert len(said) > 20
    assert all(line.startswith(f"{folder}: ") for line in said)
