"""PyTorch files read without PyTorch: the same numbers, nothing executed, one line for whatever is wrong."""

import io
import pickle
import sys
import types
import zipfile
from collections import OrderedDict

import numpy as np
import pytest

from vqdiffusion_jax.errors import CheckpointError
from vqdiffusion_jax.interop.files import torch_zip
from vqdiffusion_jax.interop.files.safe_pickle import Inert
from vqdiffusion_jax.interop.files.torch_zip import open_checkpoint, state_dict
from vqdiffusion_jax.lazy_tensor import LazyTensor

PROTOCOL = b"\x80\x02"


def archive(path, data_pkl: bytes, storages=(), compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as out:
        out.writestr("archive/data.pkl", data_pkl)
        for name, data in dict(storages).items():
            out.writestr(f"archive/data/{name}", data)
    return path


def error_of(path) -> str:
    with pytest.raises(CheckpointError) as caught:
        open_checkpoint(path)
    message = str(caught.value)
    assert "\n" not in message and str(path) in message
    return message


def tensor_pickle(offset=0, shape=(2, 3), strides=(3, 1), storage="FloatStorage", count=6, key="0") -> bytes:
    """{"w": tensor} as torch.save writes it."""

    def number(n):
        return b"J" + int(n).to_bytes(4, "little", signed=True)

    def numbers(values):
        return b"(" + b"".join(map(number, values)) + b"t"

    def text(value):
        return b"X" + len(value).to_bytes(4, "little") + value.encode()

    persistent = (
        b"(" + text("storage") + f"ctorch\n{storage}\n".encode() + text(key) + text("cpu") + number(count) + b"tQ"
    )
    build = b"ctorch._utils\n_rebuild_tensor_v2\n(" + persistent + number(offset) + numbers(shape) + numbers(strides)
    return PROTOCOL + b"}" + text("w") + build + b"\x89ccollections\nOrderedDict\n)RtRs."


NUMBERS = np.arange(6, dtype=np.float32)


def test_handmade_file_reads(tmp_path):
    tree = open_checkpoint(archive(tmp_path / "a.pt", tensor_pickle(), {"0": NUMBERS.tobytes()}))
    assert isinstance(tree["w"], LazyTensor) and tree["w"].shape == (2, 3)
    np.testing.assert_array_equal(np.asarray(tree["w"]), NUMBERS.reshape(2, 3))


def test_compressed_entries_are_unpacked(tmp_path):
    path = archive(tmp_path / "a.pt", tensor_pickle(), {"0": NUMBERS.tobytes()}, zipfile.ZIP_DEFLATED)
    np.testing.assert_array_equal(np.asarray(open_checkpoint(path)["w"]), NUMBERS.reshape(2, 3))


def test_reading_is_lazy_and_read_only(tmp_path):
    path = archive(tmp_path / "a.pt", tensor_pickle(), {"0": NUMBERS.tobytes()})
    array = np.asarray(open_checkpoint(path)["w"])
    assert not array.flags.writeable and not array.flags.owndata


@pytest.mark.parametrize(
    "bad",
    [
        tensor_pickle(shape=(3, 3)),
        tensor_pickle(offset=1),
        tensor_pickle(strides=(400, 1)),
        tensor_pickle(offset=-1),
        tensor_pickle(shape=(-2, 3)),
        tensor_pickle(count=7),
        tensor_pickle(key="1"),
        tensor_pickle(key="../data.pkl"),
        tensor_pickle(storage="DoubleStorage"),
        tensor_pickle(shape=(2,)),
    ],
)
def test_a_tensor_outside_its_storage_is_refused(tmp_path, bad):
    error_of(archive(tmp_path / "a.pt", bad, {"0": NUMBERS.tobytes()}))


class Payload:
    """Pickles as a call of ``function`` with ``arguments``."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def _global(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


HOSTILE = {
    "os.system": PROTOCOL + _global("os", "system") + b"(X\x04\x00\x00\x00exittR.",
    "posix.system": PROTOCOL + _global("posix", "system") + b"(X\x04\x00\x00\x00exittR.",
    "builtins.eval": PROTOCOL + _global("builtins", "eval") + b"(X\x03\x00\x00\x001+1tR.",
    "__builtin__.exec": PROTOCOL + _global("__builtin__", "exec") + b"(X\x03\x00\x00\x001+1tR.",
    "builtins.getattr": PROTOCOL + _global("builtins", "getattr") + b".",
    "builtins.__import__": PROTOCOL + _global("builtins", "__import__") + b".",
    "torch.load": PROTOCOL + _global("torch", "load") + b".",
    "torch._utils.os": PROTOCOL + _global("torch._utils", "os") + b".",
    "torch.serialization.pickle": PROTOCOL + _global("torch.serialization", "pickle") + b".",
    "functools.partial": PROTOCOL + _global("functools", "partial") + b".",
    "collections.OrderedDict.fromkeys": b"\x80\x04\x8c\x0bcollections\x8c\x14OrderedDict.fromkeys\x93.",
    "numpy.load": PROTOCOL + _global("numpy", "load") + b".",
    "subprocess.Popen": b"(S'id'\nisubprocess\nPopen\n.",
    "operator.attrgetter": PROTOCOL + _global("operator", "attrgetter") + b".",
    "torch_evil.x": PROTOCOL + _global("torch_evil", "x") + b".",
    "pytorch_lightning_evil.x": PROTOCOL + _global("pytorch_lightning_evil", "x") + b".",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_globals_are_refused_by_name(tmp_path, name):
    message = error_of(archive(tmp_path / "a.pt", HOSTILE[name]))
    assert name in message and "refused" in message


def test_a_pickled_call_does_not_happen(tmp_path):
    happened = []
    module = types.ModuleType("interop_probe")
    module.touch = lambda *a: happened.append(a)
    module.touch.__module__, module.touch.__qualname__ = "interop_probe", "touch"
    sys.modules["interop_probe"] = module
    try:
        assert "interop_probe.touch" in error_of(archive(tmp_path / "a.pt", pickle.dumps(Payload(module.touch, 1), 2)))
    finally:
        del sys.modules["interop_probe"]
    assert not happened


@pytest.mark.parametrize(
    "pickled",
    [
        PROTOCOL + _global("torch._utils", "_rebuild_tensor_v2") + b"}X\x08\x00\x00\x00functionX\x01\x00\x00\x00xsb.",
        PROTOCOL + _global("torch", "FloatStorage") + b"}X\x05\x00\x00\x00dtypeX\x01\x00\x00\x00Osb.",
        PROTOCOL + _global("torch", "float32") + b"}X\x05\x00\x00\x00dtypeX\x01\x00\x00\x00Osb.",
        PROTOCOL + _global("torch", "Size") + b"}X\x01\x00\x00\x00aX\x01\x00\x00\x00xsb.",
        PROTOCOL + _global("omegaconf", "DictConfig") + b"}X\x01\x00\x00\x00aX\x01\x00\x00\x00xsb.",
    ],
)
def test_a_pickle_cannot_alter_what_it_is_given(tmp_path, pickled):
    error_of(archive(tmp_path / "a.pt", pickled))
    good = archive(tmp_path / "b.pt", tensor_pickle(), {"0": NUMBERS.tobytes()})
    np.testing.assert_array_equal(np.asarray(open_checkpoint(good)["w"]), NUMBERS.reshape(2, 3))


def test_known_foreign_objects_become_inert(tmp_path):
    pickled = (
        PROTOCOL
        + b"}X\x01\x00\x00\x00c"
        + _global("pytorch_lightning.callbacks", "ModelCheckpoint")
        + b"X\x01\x00\x00\x00a\x85\x81"
    )
    pickled += b"}X\x05\x00\x00\x00scoreK\x01sbs."
    tree = open_checkpoint(archive(tmp_path / "a.pt", pickled))
    assert isinstance(tree["c"], Inert) and tree["c"].attributes == {"score": 1}
    assert "pytorch_lightning" in repr(tree["c"])


def test_a_tree_that_contains_itself_is_refused(tmp_path):
    tree = open_checkpoint(archive(tmp_path / "a.pt", PROTOCOL + b"}q\x00X\x01\x00\x00\x00ah\x00s."))
    with pytest.raises(CheckpointError, match="contains itself"):
        state_dict(tree)


def test_truncation_anywhere_is_one_line(tmp_path):
    whole = archive(tmp_path / "a.pt", tensor_pickle(), {"0": NUMBERS.tobytes()}).read_bytes()
    for length in range(len(whole)):
        path = tmp_path / "cut.pt"
        path.write_bytes(whole[:length])
        error_of(path)


def test_any_damaged_byte_is_one_line_or_harmless(tmp_path):
    whole = archive(tmp_path / "a.pt", tensor_pickle(), {"0": NUMBERS.tobytes()}).read_bytes()
    for position in range(len(whole)):
        path = tmp_path / "damaged.pt"
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 0x55]) + whole[position + 1 :])
        try:
            np.asarray(open_checkpoint(path)["w"])
        except CheckpointError as error:
            assert "\n" not in str(error)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "empty"),
        (b"hello, world\n", "not a checkpoint"),
        (b"<!DOCTYPE html><html>404</html>", "web page"),
        (b"\n  <HTML>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "Git LFS"),
        (b"PK\x03\x04" + bytes(40), "join them in order"),
        (b"\x89HDF\r\n\x1a\n", "not a checkpoint"),
    ],
)
def test_other_files_are_named(tmp_path, content, says):
    path = tmp_path / "file.pth"
    path.write_bytes(content)
    assert says in error_of(path)


def test_absent_files_and_folders_are_named(tmp_path):
    assert "cannot be read" in error_of(tmp_path / "none.pth")
    assert "directory" in error_of(tmp_path)


def test_another_zip_is_named(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, a=NUMBERS)
    assert "data.pkl" in error_of(path)


def test_a_shifted_archive_is_noticed(tmp_path):
    """Parts joined in the wrong order leave a readable directory that points at the wrong places."""
    whole = archive(tmp_path / "a.pt", tensor_pickle(), {"0": bytes(24)}).read_bytes()
    start = whole.index(b"archive/data/0") - 30
    path = tmp_path / "b.pt"
    path.write_bytes(whole[:start] + bytes(4) + whole[start + 4 :])
    assert "truncated or corrupt" in error_of(path)


def test_a_big_endian_file_is_named(tmp_path):
    path = archive(tmp_path / "a.pt", tensor_pickle(), {"0": NUMBERS.tobytes()})
    with zipfile.ZipFile(path, "a") as out:
        out.writestr("archive/byteorder", "big")
    assert "big-endian" in error_of(path)


@pytest.fixture
def torch():
    return pytest.importorskip("torch")


def test_same_numbers_as_torch(tmp_path, torch):
    base = torch.arange(24.0).reshape(2, 3, 4)
    dtypes = (
        torch.float64,
        torch.float32,
        torch.float16,
        torch.bfloat16,
        torch.int64,
        torch.int32,
        torch.int8,
        torch.uint8,
        torch.bool,
    )
    tree = {str(dtype): base.to(dtype) for dtype in dtypes}
    tree |= {
        "strided": base.permute(2, 0, 1),
        "slice": base[1, 1:, ::2],
        "expanded": torch.ones(1, 3).expand(4, 3),
        "scalar": torch.tensor(3.5),
        "empty": torch.zeros(0, 4),
        "parameter": torch.nn.Parameter(torch.ones(3)),
        "complex": torch.ones(2, dtype=torch.complex64),
        "unsigned": torch.arange(3).to(torch.uint16),
    }
    path = tmp_path / "a.pth"
    torch.save(OrderedDict(tree), path)
    read = open_checkpoint(path)
    for name, tensor in tree.items():
        ours, theirs = np.asarray(read[name]), tensor.detach()
        assert ours.shape == tuple(theirs.shape)
        if name == "torch.bfloat16":
            ours, theirs = ours.astype(np.float32), theirs.float()
        np.testing.assert_array_equal(ours, theirs.numpy())
        assert ours.dtype == theirs.numpy().dtype


def test_everything_beside_the_weights_passes(tmp_path, torch):
    network = torch.nn.Linear(2, 2)
    optimizer = torch.optim.AdamW(network.parameters())
    network(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    tree = {
        "last_epoch": 3,
        "model": network.state_dict(),
        "optimizer": {"state": optimizer.state_dict(), "best": np.float64(0.5)},
    }
    path = tmp_path / "a.pth"
    torch.save(tree, path)
    read = open_checkpoint(path)
    assert read["last_epoch"] == 3 and set(state_dict(read["model"])) == {"weight", "bias"}


def test_a_whole_pickled_module_is_refused(tmp_path, torch):
    path = tmp_path / "a.pth"
    torch.save(torch.nn.Linear(1, 1), path)
    assert "torch.nn.modules.linear.Linear" in error_of(path)


@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")
def test_torchscript_modules_give_their_parameters(tmp_path, torch):
    network = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3)).half()
    path = tmp_path / "a.pt"
    torch.jit.save(torch.jit.script(network), str(path))
    read = state_dict(open_checkpoint(path))
    theirs = network.state_dict()
    assert read.keys() == theirs.keys()
    for name, tensor in theirs.items():
        np.testing.assert_array_equal(np.asarray(read[name]), tensor.numpy())


def test_files_from_before_the_archives_read_alike(tmp_path, torch, monkeypatch):
    path = tmp_path / "old.pth"
    tree = {"w": torch.arange(6.0).reshape(2, 3).T, "h": torch.ones(2, dtype=torch.bfloat16)}
    torch.save(tree, path, _use_new_zipfile_serialization=False)
    monkeypatch.setitem(sys.modules, "torch", None)
    read = open_checkpoint(path)
    np.testing.assert_array_equal(np.asarray(read["w"]), np.arange(6.0).reshape(2, 3).T)
    assert np.asarray(read["h"]).astype(np.float32).tolist() == [1.0, 1.0]


@pytest.fixture
def old_file(torch):
    buffer = io.BytesIO()
    tree = {"w": torch.arange(6.0), "n": torch.arange(3)}
    torch.save(tree, buffer, _use_new_zipfile_serialization=False)
    return buffer.getvalue()


def test_old_files_that_are_cut_or_damaged_are_one_line(tmp_path, old_file):
    path = tmp_path / "old.pth"
    for length in range(len(old_file)):
        path.write_bytes(old_file[:length])
        error_of(path)
    for position in range(len(old_file)):
        path.write_bytes(old_file[:position] + bytes([old_file[position] ^ 0x55]) + old_file[position + 1 :])
        try:
            [np.asarray(tensor) for tensor in state_dict(open_checkpoint(path)).values()]
        except CheckpointError as error:
            assert "\n" not in str(error)


def test_old_hostile_files_are_refused(tmp_path, torch):
    class Evil:
        def __reduce__(self):
            return exec, ("raise SystemExit",)

    path = tmp_path / "old.pth"
    torch.save(Evil(), path, _use_new_zipfile_serialization=False)
    assert "__builtin__.exec" in error_of(path)


def test_reading_needs_no_torch(tmp_path):
    before = set(sys.modules)
    open_checkpoint(archive(tmp_path / "a.pt", tensor_pickle(), {"0": NUMBERS.tobytes()}))
    assert "torch" not in set(sys.modules) - before


def test_protocol_four_pickles_read(tmp_path):
    buffer = io.BytesIO()
    pickle.Pickler(buffer, 4).dump({"a": OrderedDict(x=1), "b": (1, 2.5, None, {3})})
    assert open_checkpoint(archive(tmp_path / "a.pt", buffer.getvalue()))["b"] == (1, 2.5, None, {3})


def test_a_tensor_that_repeats_one_number_for_ever_is_refused_when_read(tmp_path):
    pickled = tensor_pickle(shape=(2**19, 2**19), strides=(0, 0))
    tree = open_checkpoint(archive(tmp_path / "a.pt", pickled, {"0": NUMBERS.tobytes()}))
    with pytest.raises(CheckpointError, match="a.pt: a tensor of shape .* refused"):
        np.asarray(tree["w"])


@pytest.mark.parametrize("name", ["items", "get"])
def test_methods_of_a_dict_stay_what_they_are(tmp_path, name):
    state = b"}X" + len(name).to_bytes(4, "little") + name.encode() + b"K\x01s"
    pickled = PROTOCOL + b"ccollections\nOrderedDict\n)R" + b"X\x01\x00\x00\x00aK\x02s" + state + b"b."
    tree = open_checkpoint(archive(tmp_path / "a.pt", pickled))
    assert tree.get("a") == 2 and state_dict(tree) == {}


def test_names_that_cannot_be_written_are_one_line():
    with pytest.raises(CheckpointError, match="names"):
        state_dict({10**5000: {}})


def test_archives_made_to_fill_memory_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(torch_zip, "UNPACKED_BYTES", 2**20)
    path = archive(tmp_path / "a.pt", tensor_pickle(), {"0": bytes(2**22)}, zipfile.ZIP_DEFLATED)
    assert "unpacks" in error_of(path)
    monkeypatch.setattr(torch_zip, "PICKLE_BYTES", 10)
    assert "data.pkl takes" in error_of(archive(tmp_path / "b.pt", tensor_pickle(), {"0": NUMBERS.tobytes()}))


@pytest.mark.parametrize("change", ["shorter", "gone"])
def test_a_file_that_changes_before_its_numbers_are_read_is_one_line(tmp_path, change):
    path = archive(tmp_path / "m.pth", tensor_pickle(), {"0": NUMBERS.tobytes()})
    tensor = state_dict(open_checkpoint(path))["w"]
    if change == "shorter":
        path.write_bytes(path.read_bytes()[:40])
    else:
        path.unlink()
    with pytest.raises(CheckpointError, match="became shorter" if change == "shorter" else "could not be read on"):
        np.asarray(tensor)
