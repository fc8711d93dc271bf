"""Hostile files besides checkpoints and data: adapters, words, recipes, folders, caches, buckets."""

from __future__ import annotations

import functools
import json
import os
import random
import shutil
import struct
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fsspec
import jax
import numpy as np

from benchmarks import _hostile_mutations as mutate
from benchmarks._hostile_commands import run_command
from benchmarks._hostile_formats import of_safetensors
from benchmarks._hostile_sources import disturb
from vqdiffusion_jax import loading
from vqdiffusion_jax.hub import locate
from vqdiffusion_jax.lora_files import read_lora, write_lora
from vqdiffusion_jax.model_folder import read_config
from vqdiffusion_jax.models.lora import check_fits, init
from vqdiffusion_jax.models.shapes import make_rngs
from vqdiffusion_jax.models.vqdiffusion import VQDiffusionModel
from vqdiffusion_jax.recipe import KEYWORD
from vqdiffusion_jax.storage.addresses import joined
from vqdiffusion_jax.storage.copies import here
from vqdiffusion_jax.text.known_words import FILE, KnownWords, read_words, write_words
from vqdiffusion_jax.user_files import read_json

if TYPE_CHECKING:
    from benchmarks._hostile_case import Case

_REPO = Path(__file__).resolve().parents[1]
_RECIPE = {"mode": "sample", "prompt": "a cat", "seed": 3, "num_inference_steps": 4, "guidance_scale": 2.0}
_COMMIT = "0123456789abcdef0123456789abcdef01234567"
_TREES = (  # recipes as other programs, or nobody, write them
    {"workflow": {"nodes": []}}, [], None, 5, {"mode": "train"}, {"prompt": ["a"] * 10**5}, {"checkpoint": "\0"},
    {"lora": 5}, {"lora": ["a:nan"]}, {"lora": [{}]}, {"image": "/dev/zero"}, {"image": "../../etc/passwd"},
    {"mask_image": "s3://nowhere/a"}, {"checkpoint": ["a"]}, {"codec": "hf://"}, {"mesh": {"data": -1}},
    {"faithful": "maybe"}, {"dtype": "float7"}, {"reference_config": "/proc/self/mem"}, {"seed": 10**400},
    {"prompt": "a", "class_labels": 3}, {"first_image": -1}, {"num_images_per_prompt": 10**9}, {"__class__": 1},
)  # fmt: skip


def make_strangers(folder: Path, model: VQDiffusionModel) -> None:
    """Write an adapter of ``model``, and the words that a model was taught, below ``folder``."""
    folder.mkdir(parents=True)
    lora = init(model.denoiser, rank=2, alpha=4.0, targets=("query", "value"), key=jax.random.key(0))
    write_lora(folder / "lora.safetensors", lora, base="a model")
    write_words(folder, KnownWords(("red apple", "cat"), frozenset({"a", "the"}), {"kitten": "cat"}))


def lora(case: Case) -> None:
    """An adapter of a stranger, as it is read and compared with a model."""
    file = case.damaged("strangers/lora.safetensors", lambda data: of_lora(data, case.draw))
    check_fits(read_lora(file), _model(case.whole).denoiser)


@functools.cache
def _model(whole: Path) -> VQDiffusionModel:
    config = read_config(whole / "model")
    return jax.eval_shape(lambda: VQDiffusionModel(config, rngs=make_rngs(0)))


def of_lora(data: bytes, draw: random.Random) -> bytes:
    """Return an adapter whose header lies, or whose numbers are no numbers."""
    size = int.from_bytes(data[:8], "little")
    text, numbers = data[8 : 8 + size], data[8 + size :]
    table = json.loads(text)
    names = [name for name in table if name != "__metadata__"]
    one, other = table[draw.choice(names)], table[draw.choice(names)]
    kind = draw.randrange(11)
    if kind == 0:
        one["shape"] = draw.choice(([-1, 2], [0, 2], [2], [], [2**40, 2**40], [1.5, 2], ["2"], [2] * 99, [2, 0]))
    elif kind == 1:
        one["data_offsets"] = draw.choice(
            (other["data_offsets"], [0, 0], [8, 4], [0, 2**63], [-8, 0], [0], [0, len(numbers) + 8], [1, 33])
        )
    elif kind == 2:
        return struct.pack("<Q", draw.choice((2**60, 2**63 + 1, 2**64 - 1, 2**24, size + 1, 1, 0))) + data[8:]
    elif kind == 3:  # a name that stands twice
        name = draw.choice(names)
        text = text.rstrip()[:-1] + b"," + json.dumps({name: table[name]}).encode()[1:]
        return struct.pack("<Q", len(text)) + text + numbers
    elif kind == 4:
        value = draw.choice((np.nan, np.inf, -np.inf, 3e38, 1e-45))
        numbers = np.full(len(numbers) // 4, value, np.float32).tobytes()
    elif kind == 5:
        about = draw.choice(
            ('{"alpha": NaN}', '{"alpha": 1e999}', '{"alpha": true}', "[" * 9000, "", "null", '{"alpha": "4"}')
        )
        table["__metadata__"] = {"format": "vqdiffusion_jax", "lora": about}
    elif kind == 6:
        table["__metadata__"] = draw.choice(({}, {"lora": 5}, [], None, {"lora": "x" * 10**6}))
    elif kind == 7:
        name = draw.choice(names)
        end = draw.choice((".lora_a", ".lora_b", "", ".lora_c"))
        table[draw.choice(("blocks.none", "a" * 5000, "\n", "__class__", "blocks.0.query", "\x1b[31m")) + end] = (
            table.pop(name)
        )
    elif kind == 8:
        one["dtype"] = draw.choice(("I64", "F64", "BF16", "F16", "BOOL", "U8", "F8_E4M3", "C64", "X9", 5, None))
    elif kind == 9:
        for name in names:  # of rank 0, where nothing is stored
            table[name] = {"dtype": "F32", "shape": [0 if n == 2 else n for n in table[name]["shape"]]}
            table[name]["data_offsets"] = [0, 0]
        numbers = b""
    else:
        return of_safetensors(data, draw, Path())
    text = json.dumps(table).encode()
    return struct.pack("<Q", len(text)) + text + numbers


def known_words(case: Case) -> None:
    """``words.json`` of a stranger's model folder, and what is said of prompts."""
    case.damaged(f"strangers/{FILE}", lambda data: mutate.of_json(data, case.draw))
    words = read_words(case.place)
    if words is not None:
        said = words.told_of_all(["a green kittens", "\x1b[31m" + "x" * 5000, " ".join(map(str, range(2000)))])
        assert all(line.isprintable() for line in said)


def again_texts(case: Case) -> None:
    """``--again`` with a picture whose texts another program, or a stranger, wrote."""
    tree = case.draw.choice(_TREES) if case.draw.random() < 0.5 else mutate.of_tree(dict(_RECIPE), case.draw)
    try:
        text = json.dumps(tree).encode("utf-8", "surrogatepass")
    except RecursionError:
        text = b"[" * 5000
    if case.draw.random() < 0.2:
        text = mutate.of_bytes(text, case.draw)
    name = case.draw.choice((KEYWORD,) * 8 + ("parameters", "workflow", "", "x" * 90, KEYWORD.upper())).encode()
    chunks = [_text_chunk(name, text, case.draw) for _ in range(case.draw.choice((1, 1, 1, 2, 500)))]
    if case.draw.random() < 0.1:
        text = bytes(2 ** case.draw.choice((20, 26, 28)))
        chunks.append(_text_chunk(name, text, case.draw))
    head = _chunk(b"IHDR", struct.pack(">II5B", 16, 16, 8, 0, 0, 0, 0))
    parts = [head, *chunks, _chunk(b"IDAT", zlib.compress(bytes(17 * 16))), _chunk(b"IEND", b"")]
    if case.draw.random() < 0.2:
        case.draw.shuffle(parts)
    file = case.place / "again.png"
    file.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
    run_command(case, "--mode=sample", "--dry_run", f"--again={file}")


def _text_chunk(name: bytes, text: bytes, draw: random.Random) -> bytes:
    kind = draw.randrange(6)
    if kind < 2:
        return _chunk(b"tEXt", name + b"\0" + text)
    if kind == 2:
        return _chunk(b"zTXt", name + b"\0" + bytes([draw.choice((0, 0, 7))]) + zlib.compress(text, 9))
    if kind == 3:
        language = draw.choice((b"\0", b"en\0", b"\xff\0", b""))
        return _chunk(b"iTXt", name + b"\0\1\0" + language + b"\0" + zlib.compress(text, 9))
    if kind == 4:
        return _chunk(b"iTXt", name + b"\0\0\0\0\0" + text)
    return _chunk(b"zTXt", name + b"\0\0" + zlib.compress(text, 9)[: draw.choice((3, -4, 20))])


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def own_pictures(case: Case) -> None:
    """``configs/own_pictures.py`` with a folder that is not what it should be."""
    folder = case.folder(case.draw.choice(("sources/folder", "captioned", "pictures", "sources/ffhq")), as_name="mine")
    for _ in range(case.draw.choice((0, 1, 1, 3))):
        disturb(folder, case.draw)
    if case.draw.random() < 0.3:
        captions = folder / case.draw.choice(("captions.csv", "captions.jsonl", "metadata.jsonl", "captions.txt"))
        captions.unlink(missing_ok=True)
        if case.draw.random() < 0.5:
            mutate.irregular(captions, case.draw)
        else:
            captions.write_bytes(mutate.of_bytes(b"file_name,text\n0.png,a cat\n1.png,\n", case.draw))
    name = case.draw.choice((str(folder),) * 12 + ("", ".", "/dev/null", "\0", "x" * 5000, "/proc", "nowhere", "a:b"))
    config = case.draw.choice(("own_pictures.py", "vqgan_own_pictures.py"))
    run_command(case, "--mode=inspect", f"--config={_REPO / 'configs' / config}:{name}", "--out=looked")


def hub_cache(case: Case) -> None:
    """A cache of the hub with another commit, links that lead elsewhere, or half a snapshot."""
    cache = case.place / "hub"
    repo = cache / "models--owner--name"
    snapshot = repo / "snapshots" / _COMMIT
    (repo / "refs").mkdir(parents=True)
    (repo / "blobs").mkdir()
    shutil.copytree(case.whole / "model", snapshot)
    (repo / "refs" / "main").write_text(_COMMIT)
    for number, file in enumerate(sorted(path for path in snapshot.rglob("*") if path.is_file())):
        blob = repo / "blobs" / f"{number:040x}"
        file.rename(blob)
        file.symlink_to(os.path.relpath(blob, file.parent))
    kind = case.draw.randrange(9)
    files = sorted(path for path in snapshot.rglob("*") if path.is_symlink())
    one = case.draw.choice([path for path in files if path.suffix == ".json"] or files)
    if kind == 0:
        data = case.draw.choice((b"../../..", b"/etc", b"", b"\xff", b"a" * 10_000, b"\0", _COMMIT.encode() + b"\n"))
        (repo / "refs" / "main").write_bytes(data)
    elif kind == 1:
        (repo / "refs" / "main").unlink()
        mutate.irregular(repo / "refs" / "main", case.draw)
    elif kind == 2:
        one.unlink()
        mutate.irregular(one, case.draw)
    elif kind == 3:
        one.resolve().unlink()
    elif kind == 4:
        shutil.rmtree(snapshot)
        case.draw.choice((lambda path: path.write_text("no folder"), lambda path: path.symlink_to(".")))(snapshot)
    elif kind == 5:
        one.resolve().write_bytes(mutate.of_json(one.read_bytes(), case.draw))
    elif kind == 6:
        (snapshot / "loop").symlink_to("..")
    elif kind == 7:
        shutil.rmtree(repo)
        mutate.irregular(repo, case.draw)
    found = locate("owner/name", "model", cache_dir=cache, local_files_only=True)
    loading.open_model(found.path)


class HostileBucket(fsspec.AbstractFileSystem):
    """A bucket whose names, sizes and contents are whatever ``objects`` and ``draw`` say."""

    protocol = "hostile"
    cachable = False
    objects: dict[str, tuple[Any, bytes]] = {}  # by path: what the list says of the size, and what comes
    wrong: str = ""

    def find(self, path: str, maxdepth: Any = None, withdirs: bool = False, detail: bool = False, **_: Any) -> Any:
        self._fail("find")
        found = {
            name: {"name": name, "size": size, "type": "file"}
            for name, (size, _data) in self.objects.items()
            if name == path or name.startswith(f"{path.rstrip('/')}/")
        }
        return found if detail else list(found)

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        self._fail("info")
        path = str(self._strip_protocol(path))
        if path not in self.objects:
            raise FileNotFoundError(path)
        return {"name": path, "size": self.objects[path][0], "type": "file"}

    def ls(self, path: str, detail: bool = True, **_: Any):
        found = self.find(str(self._strip_protocol(path)), detail=True)
        return list(found.values()) if detail else list(found)

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **_: Any) -> bytes:
        self._fail("cat")
        path = str(self._strip_protocol(path))
        if path not in self.objects:
            raise FileNotFoundError(path)
        return self.objects[path][1][start:end]

    def get_file(self, rpath: str, lpath: str, *_: Any, **__: Any) -> None:
        Path(lpath).write_bytes(self.cat_file(rpath))

    def _open(self, path: str, mode: str = "rb", **_: Any):
        import io

        return io.BytesIO(self.cat_file(path))

    def _fail(self, where: str) -> None:
        if self.wrong == where:
            raise random.Random(where).choice(
                (OSError("\x1b[31mno\nsuch\nthing" * 500), ValueError(), PermissionError(13, "no"), KeyError("x"))
            )


def bucket(case: Case) -> None:
    """An address whose list lies, and whose objects are cut, changed or missing."""
    root = f"b{case.draw.getrandbits(64):x}/m"  # an address is copied once in a process
    fsspec.register_implementation("hostile", HostileBucket, clobber=True)
    files = {path.relative_to(case.whole / "model").as_posix(): path.read_bytes() for path in _files(case.whole)}
    objects: dict[str, tuple[Any, bytes]] = {f"{root}/{name}": (len(data), data) for name, data in files.items()}
    kind, one = case.draw.randrange(7), case.draw.choice(list(objects))
    if kind == 0:
        names = (
            "../x", "/etc/x", "a/../../x", "..", ".", "\0", "\n", "\x1b[31m.json", "a" * 5000, "a//b", "\udcff", " ",
            "a\\..\\x", "con", "config.json/x", "weights", "tokenizer", "x/" * 2000 + "x", "C:/x",
        )  # fmt: skip
        for name in case.draw.sample(names, case.draw.choice((1, 1, 3))):
            objects[f"{root}/{name}"] = (1, b"x")
    elif kind == 1:
        sizes = (0, -1, 2**62, None, "5", 1.5, True, float("nan"), [], "x", 10**400)
        objects[one] = (case.draw.choice(sizes), objects[one][1])
    elif kind == 2:
        objects[one] = (objects[one][0], mutate.of_bytes(objects[one][1], case.draw))
    elif kind == 3:
        del objects[one]
    elif kind == 4:
        objects |= {f"{root}/{number:06d}": (0, b"") for number in range(20_000)}
    elif kind == 5:
        objects[root] = (3, b"abc")  # an object and a folder of one name
    HostileBucket.objects = objects
    HostileBucket.wrong = case.draw.choice(("", "", "", "", "find", "info", "cat"))
    address = f"hostile://{root}{case.draw.choice(('', '', '/', '//'))}"
    if case.draw.random() < 0.2:
        read_json(here(joined(address, "config.json")), most=2**20)
    else:
        folder = here(address)
        outside = [path for path in folder.parent.iterdir() if path.name in ("x", "etc")]
        assert not outside, outside
        loading.open_model(folder)


def _files(whole: Path) -> list[Path]:
    return sorted(path for path in (whole / "model").rglob("*") if path.is_file())


STRANGERS_DOORS = {lora: 10, known_words: 5, again_texts: 10, own_pictures: 8, hub_cache: 6, bucket: 8}
