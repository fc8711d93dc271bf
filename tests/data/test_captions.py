"""A data set's text becomes captions by one rule: lists, missing values, encodings and tables of every exporter."""

import io
import json
import tarfile

import numpy as np
import pytest

from tests.data import layouts
from vqdiffusion_jax.data.captions import captions_in, captions_of_text, choose, field_of
from vqdiffusion_jax.data.config import DataConfig
from vqdiffusion_jax.data.examples import captions_of
from vqdiffusion_jax.data.sources import open_source
from vqdiffusion_jax.data.tables import read_rows
from vqdiffusion_jax.errors import BrokenRecord, DataError, MissingCaption

BOM = b"\xef\xbb\xbf"


class NAType:
    """A stand-in for pandas.NA, which is not even equal to itself."""

    def __eq__(self, other):
        return self

    def __bool__(self):
        raise TypeError("boolean value of NA is ambiguous")


@pytest.mark.parametrize(
    "value",
    [
        None,
        float("nan"),
        np.float32("nan"),
        np.ma.masked,
        NAType(),
        "",
        " \t\n",
        "\u200b\ufeff",
        b"",
        [],
        "[]",
        "[None]",
    ]
    + [[None, float("nan"), " "], np.array([]), np.array(["", " "])],
)
def test_a_missing_value_is_no_caption(value):
    assert captions_in(value) == []


@pytest.mark.parametrize(
    "text", ["None", "none", "nan", "NaN", "null", "NULL", "<NA>", "N/A", "#N/A", "NONE", "-", "\u2014"]
)
def test_a_cell_that_spells_a_missing_value_is_none_in_a_table_alone(text):
    assert captions_in(text, table=True) == [] and captions_in([text, "a dog"], table=True) == ["a dog"]
    assert captions_in(text) == [text] and captions_in(f"a dog, {text}", table=True) == [f"a dog, {text}"]


@pytest.mark.parametrize(
    "value",
    [
        ["a dog", None, "a puppy"],
        ("a dog", "a puppy"),
        [b"a dog", "a puppy"],
        np.array(["a dog", "a puppy"]),
        np.array(["a dog", None, "a puppy"], object),
        np.array([b"a dog", b"a puppy"], object),
        "['a dog', 'a puppy']",
        '["a dog", "a puppy"]',
        '["a dog", null, "a puppy"]',
        "['a dog' 'a puppy']",
        "['a dog'\n 'a puppy']",
        "['a dog', nan, 'a puppy']",
        "('a dog', 'a puppy')",
        "{'a dog', 'a puppy'}",
        "array(['a dog', 'a puppy'], dtype=object)",
        "array(['a dog', 'a puppy'],\n      dtype='<U7')",
    ],
)
def test_a_list_is_several_captions_however_it_is_spelt(value):
    assert captions_in(value, table=True) == ["a dog", "a puppy"]


def test_quotations_in_a_spelt_list_are_read():
    assert captions_in("""["it's", 'a "dog"', 'a\\tb']""") == ["it's", 'a "dog"', "a\tb"]
    assert captions_in(json.dumps(["caf\u00e9 \U0001f680"])) == ["caf\u00e9 \U0001f680"]


@pytest.mark.parametrize(
    "text",
    ["[a dog]", "[1] a dog", "a dog ['x']", "(a dog)", "('a dog')", "{a dog}", "a [dog], 'b'", "'a dog'", "[1, 2]"],
)
def test_brackets_in_a_caption_stay(text):
    assert captions_in(text, table=True) == [text]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"en": "a dog", "de": "ein Hund"}, "a table with the fields .*'caption.en'"),
        ([{"raw": "a dog"}], "a table with the fields .*'caption.raw'"),
        ([["a dog"], ["a cat"]], "a list in a list"),
        ("[['a dog'], ['a cat']]", "begins like a list"),
        ("['a dog' and", None),
        ("['a dog' and 'a cat']", "begins like a list"),
        ("{'en': 'a dog'}", "spells a table"),
        ('{"en": "a dog"}', "spells a table"),
        (5, "is 5, a number"),
        (5.0, "is 5.0, a number"),
        (True, "a number"),
        (np.array(5), "is 5, a number"),
        ({"a dog"}, "of type set"),
        ("a\0dog", "a null character"),
        ("a \ud800 dog", "half a character"),
        ("a caf\udce9", "the byte 0xe9, which is no UTF-8"),
        (b"a caf\xe9", "its line 1 has the byte 0xe9"),
        ("a dog".encode("utf-16"), "UTF-16"),
    ],
)
def test_what_is_no_caption_is_refused_in_one_short_line(value, message):
    if message is None:
        assert captions_in(value) == [value]
        return
    with pytest.raises(ValueError, match=message) as error:
        captions_in(value)
    assert "\n" not in str(error.value) and str(error.value).isprintable()
    with pytest.raises(ValueError) as error:
        captions_in({"x" * 100_000: 1})
    assert len(str(error.value)) < 1000


def test_a_text_file_is_one_caption_or_one_a_line():
    text = "a dog\u2028in\x0cthe\x85snow\r\n\r\na puppy\rthird\n".encode()
    assert captions_of_text(text, "a.txt", lines=True) == ["a dog\u2028in\x0cthe\x85snow", "a puppy", "third"]
    assert captions_of_text(BOM + b"a dog\n", "a.txt") == ["a dog"]
    with pytest.raises(ValueError, match="a.txt is no UTF-8 text: it seems to be UTF-16"):
        captions_of_text("a dog".encode("utf-16-le"), "a.txt", lines=True)


def test_fields_of_tables_are_reached_by_a_path():
    row = {"caption": {"en": "a dog"}, "a.b": 1, "sentences": [{"raw": "one"}, {"raw": "two"}]}
    assert field_of(row, "caption.en") == "a dog" and field_of(row, "a.b") == 1
    assert field_of(row, "sentences.raw") == ["one", "two"]
    assert field_of(row, "caption.de") is None and field_of(row, "caption.en.x") is None and field_of(row, "x") is None


def test_without_captions_none_is_chosen():
    assert choose(0, 0.0, None) is None and choose(0, 0.5, np.random.default_rng(0)) is None


def opened(root, **config):
    source = open_source(DataConfig(root=str(root), **config), "train")
    found = []
    for index in range(len(source)):
        try:
            found.append(captions_of(source[index]))
        except MissingCaption:
            found.append("missing")
        except BrokenRecord as error:
            assert "\n" not in str(error)
            found.append("broken")
    return found


def folder_with(root, name, data, pictures=("a.png", "b.png")):
    for picture in pictures:
        layouts.put(root / picture, layouts.encoded(0))
    layouts.put(root / name, data)
    return {"source": "folder", "options": {"captions": name}}


TABLES = {
    "excel": ("c.csv", BOM + b"image,caption\r\na.png,\"a dog, brown\"\r\nb.png,a cat\r\n"),
    "excel elsewhere": ("c.csv", b"image;caption\r\na.png;a dog, brown\r\nb.png;a cat\r\n"),
    "excel with its word": ("c.csv", BOM + b"sep=;\r\nimage;caption\r\na.png;a dog, brown\r\nb.png;a cat\r\n"),
    "old mac": ("c.csv", b'image,caption\ra.png,"a dog, brown"\rb.png,a cat\r'),
    "blanks": ("c.csv", b'\nimage, caption\na.png, "a dog, brown"\n\nb.png, a cat\n,\n'),
    "pandas": ("c.csv", b',file_name,text\n0,a.png,"a dog, brown"\n1,b.png,a cat\n'),
    "capitals": ("c.csv", b'Image,Caption\na.png,"a dog, brown"\nb.png,a cat\n'),
    "imagefolder": ("metadata.csv", b'file_name,text\na.png,"a dog, brown"\nb.png,a cat\n'),
    "imagefolder lines": ("metadata.jsonl", b'{"file_name": "a.png", "text": "a dog, brown"}\n'
                          b'{"file_name": "b.png", "text": "a cat"}'),
    "tabs": ("c.tsv", b"image\tcaption\na.png\ta dog, brown\nb.png\ta cat\n"),
    "joined lines": ("c.jsonl", BOM + b'{"image": "a.png", "caption": "a dog, brown"}\r\n'
                     + BOM + b'{"image": "b.png", "caption": "a cat"}\r\n'),
    "records": ("c.json", b'[{"image": "a.png", "caption": "a dog, brown"}, {"image": "b.png", "caption": "a cat"}]'),
    "columns": ("c.json", b'{"image":{"0":"a.png","1":"b.png"},"caption":{"0":"a dog, brown","1":"a cat"}}'),
    "by name": ("c.json", b'{"a.png": "a dog, brown", "b.png": ["a cat"]}'),
    "under data": ("c.json", b'{"version": 1, "data": [{"image": "a.png", "caption": "a dog, brown"},'
                   b' {"image": "b.png", "caption": "a cat"}]}'),
    "paths": ("c.csv", b'image,caption\n./a.png,"a dog, brown"\nx/../b.png,a cat\n'),
}  # fmt: skip


@pytest.mark.parametrize("kind", TABLES)
def test_tables_of_every_exporter_give_whole_captions(tmp_path, kind):
    assert opened(tmp_path, **folder_with(tmp_path, *TABLES[kind])) == [["a dog, brown"], ["a cat"]]


def test_backslashes_and_absolute_paths_lead_to_pictures_in_the_folder(tmp_path):
    table = f"image,caption\nx\\a.png,one\n{tmp_path / 'b.png'},two\n"
    config = folder_with(tmp_path, "c.csv", table, ("x/a.png", "b.png"))
    assert opened(tmp_path, **config) == [["one"], ["two"]]


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("c.csv", b"image,caption\na.png,a dog, brown\n", "line 2 has 3 cells but line 1 names 2 columns"),
        ("c.csv", b"image,caption,x\na.png,a dog\n", "line 2 has 2 cells .* 3 columns"),
        ("c.csv", b'image,caption\nb.png,x\na.png,"a dog\n', "line 3 cannot be read"),
        ("c.csv", b'image,caption\na.png,"a 5" pipe"\n', "line 2 cannot be read"),
        ("c.csv", b'image,caption\na.png,"a dog\nb.png,"a cat"\n', "line 2 cannot be read"),
        ("c.csv", b'image,caption\na.png,"a dog\nb.png,a cat\nc.png,"\n', "line 2 has a quotation that takes in"),
        ("c.csv", b"image,caption,caption\na.png,a,b\n", "line 1 names the column 'caption' more than once"),
        ("c.csv", b"a.png,a dog\nb.png,a cat\n", "line 1 has no field 'image'"),
        ("c.csv", b"\nimage,words\na.png,a dog\n", "line 2 has no field 'caption'; it has image, words"),
        ("c.csv", "image,caption\na.png,a dog\n".encode("utf-16"), "UTF-16"),
        ("c.csv", "image,caption\na.png,a dog\n".encode("utf-16-le"), "UTF-16"),
        ("c.csv", "image,caption\na.png,a dog\n".encode("utf-32"), "UTF-32"),
        ("c.csv", "image,caption\na.png,caf\u00e9\n".encode("cp1252"), "its line 2 has the byte 0xe9"),
        ("c.csv", b"image,caption\na.png,a\0dog\n", "line 2 has a null character"),
        ("c.csv", b"image,caption\na.png," + b"x" * 200_000 + b"\n", "line 2 cannot be read: field larger"),
        ("c.jsonl", b'{"image": "a.png", "caption": "a", "caption": "b"}\n', "line 1.*'caption' stands more than once"),
        ("c.jsonl", b'{"image": "a.png", "caption": "a"}\n{"image": "b.png", "cap', "line 2 is no JSON"),
        ("c.jsonl", b"[1]\n", "line 1 is .*must be a JSON table"),
        ("c.jsonl", b'{"image": "a", "caption": ' + b"[" * 100_000 + b"]" * 100_000 + b"}\n", "more than 100 deep"),
        ("c.json", b'["a.png"]', "must be a JSON table"),
        ("c.xlsx", b"PK", "is no table that can be read"),
    ],
)  # fmt: skip
def test_a_table_that_would_lose_something_is_refused_with_its_line(tmp_path, name, data, message):
    with pytest.raises(DataError, match=message) as error:
        opened(tmp_path, **folder_with(tmp_path, name, data))
    assert name in str(error.value) and "\n" not in str(error.value) and len(str(error.value)) < 1000


def test_a_missing_or_strange_row_spares_the_others(tmp_path):
    rows = [
        {"image": "a.png", "caption": None},
        {"image": "b.png"},
        {"image": "c.png", "caption": {"en": "a dog"}},
        {"image": "d.png", "caption": 5},
        {"image": "e.png", "caption": ["a dog", None]},
        {"image": "e.png", "caption": "a puppy"},
        {"caption": "of no picture"},
    ]
    pictures = tuple(f"{letter}.png" for letter in "abcdef")
    config = folder_with(tmp_path, "c.jsonl", "\n".join(map(json.dumps, rows)), pictures)
    assert opened(tmp_path, **config) == ["missing", "missing", "broken", "broken", ["a dog", "a puppy"]]
    account = {
        reason: names for reason, _, names in open_source(DataConfig(root=str(tmp_path), **config), "train").account
    }
    assert ["c.jsonl, line 7"] in account.values() and ["f.png"] in account.values()
    config["options"]["caption_field"] = "caption.en"
    assert opened(tmp_path, **config)[2] == ["a dog"]


def test_empty_and_spelt_cells_are_missing(tmp_path):
    table = "image,caption\na.png,\nb.png,NaN\nc.png,none at all\nd.png,\"['a dog', 'a puppy']\"\n"
    config = folder_with(tmp_path, "c.csv", table, tuple(f"{letter}.png" for letter in "abcd"))
    assert opened(tmp_path, **config) == ["missing", "missing", ["none at all"], ["a dog", "a puppy"]]


def test_lines_are_counted_as_an_editor_counts_them(tmp_path):
    layouts.put(tmp_path / "c.csv", b'a,b\r\n"1\r\n2",x\r\n\r\n3,y\r\n')
    assert [line for line, _ in read_rows(tmp_path / "c.csv")] == [2, 5]


def tar(root, *members):
    with tarfile.open(root / "0.tar", "w") as archive:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return {"source": "tar_shards"}


def test_tar_shards(tmp_path):
    tables = [b'{"caption": ["a dog", null, "a puppy"]}', b'{"caption": NaN}', b'{"text": "a dog"}',
              b'["a dog", "a cat"]', b'{"caption": {"en": "a dog"}}', BOM + b'{"caption": "a dog"}',
              b'{"caption": "None"}', b'{"cap',
              b"[" * 100_000, b'{"caption": 3}', b'{"caption": "a", "caption": "b"}']  # fmt: skip
    members = [(f"{i:02d}.{e}", d) for i, t in enumerate(tables) for e, d in (("png", layouts.encoded(0)), ("json", t))]
    members += [("20.png", layouts.encoded(0)), ("20.txt", b" \n"), ("20.json", b'{"caption": "a cat"}')]
    members += [("21.png", layouts.encoded(0)), ("21.caption", BOM + b"a dog\n")]
    members += [("22.png", layouts.encoded(0)), ("22.txt", "caf\u00e9".encode("latin-1"))]
    members += [("23.png", layouts.encoded(0)), ("23.txt", b"none")]
    assert opened(tmp_path, **tar(tmp_path, *members)) == [
        ["a dog", "a puppy"], "missing", ["a dog"], ["a dog", "a cat"],
        "broken", ["a dog"], "missing", "broken",
        "broken", "broken", "broken",
        ["a cat"], ["a dog"], "broken", ["none"],
    ]  # fmt: skip
    found = opened(tmp_path, **tar(tmp_path, *members), options={"caption_field": "caption.en"})
    assert found[4] == ["a dog"] and found[0] == "missing"


def test_parquet(tmp_path):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    def written(name, **columns):
        count = len(next(iter(columns.values())))
        (tmp_path / name).mkdir()
        table = pa.table({"image": [layouts.encoded(0)] * count} | columns)
        pq.write_table(table, tmp_path / name / "0.parquet")
        return tmp_path / name

    assert opened(written("text", text=["a dog", None, "nan"]), source="parquet") == [["a dog"], "missing", "missing"]
    assert opened(written("numbers", caption=[1.0, float("nan")]), source="parquet") == ["broken", "missing"]
    assert opened(written("bytes", caption=[b"a dog", b"\xff"]), source="parquet") == [["a dog"], "broken"]
    assert opened(written("lists", TEXT=[["a dog", None], []]), source="parquet") == [["a dog"], "missing"]
    words = pa.array(["a dog", None]).dictionary_encode()
    assert opened(written("categories", caption=words), source="parquet") == [["a dog"], "missing"]
    tables = written("tables", caption=[{"en": "a dog", "de": "ein Hund"}])
    assert opened(tables, source="parquet") == ["broken"]
    assert opened(tables, source="parquet", options={"caption_column": "caption.de"}) == [["ein hund"]]
    with pytest.raises(DataError, match="has no column words.en"):
        opened(tables, source="parquet", options={"caption_column": "words.en"})
    twice = pa.Table.from_arrays([[layouts.encoded(0)], ["a dog"], ["a cat"]], names=["image", "caption", "caption"])
    (tmp_path / "twice").mkdir()
    pq.write_table(twice, tmp_path / "twice" / "0.parquet")
    with pytest.raises(DataError, match="has the column caption more than once"):
        opened(tmp_path / "twice", source="parquet")


def test_further_columns_of_captions_are_noted(tmp_path):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    layouts.put(tmp_path / "table" / "a.png", layouts.encoded(0))
    layouts.put(tmp_path / "table" / "c.csv", "image,Text,caption,width\na.png,a cat,a dog,8\n")
    (tmp_path / "parquet").mkdir()
    columns = {"image": [layouts.encoded(0)], "Text": ["a cat"], "caption": ["a dog"], "width": [8]}
    pq.write_table(pa.table(columns), tmp_path / "parquet" / "0.parquet")
    for source, field, options in (
        ("folder", "caption_field", {"captions": "c.csv"}),
        ("parquet", "caption_column", {}),
    ):
        root = tmp_path / ("table" if source == "folder" else source)
        told = open_source(DataConfig(source=source, root=str(root), options=options), "train").account.notes
        assert told == ["captions are the column caption; Text may hold captions too, not read"]
        assert opened(root, source=source, options=options) == [["a dog"]]
        chosen = DataConfig(source=source, root=str(root), options=options | {field: "Text"})
        assert not any("not read" in note for note in open_source(chosen, "train").account.notes)


def test_pictures_and_labels_of_parquet_that_are_none(tmp_path):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    def reasons(name, **columns):
        (tmp_path / name).mkdir()
        pq.write_table(pa.table(columns), tmp_path / name / "0.parquet")
        source, found = open_source(DataConfig(source="parquet", root=str(tmp_path / name)), "train"), []
        for index in range(len(source)):
            try:
                found.append(source[index].get("label"))
            except BrokenRecord as error:
                found.append(error.reason)
        return found

    needed = "it must hold the bytes of a picture file"
    paths = [{"bytes": None, "path": "a.jpg"}, {"bytes": None, "path": None}]
    told = [f"its column image holds the path 'a.jpg' alone; {needed}", "its column image is empty"]
    assert reasons("paths", image=paths) == told
    assert reasons("urls", image=["http://a"]) == [f"its column image holds the path 'http://a' alone; {needed}"]
    assert reasons("lists", image=[[b"x"]]) == [f"its column image holds a list; {needed}"]
    pictures = [layouts.encoded(0)] * 3  # pandas makes floats of whole numbers beside a missing one
    assert reasons("labels", image=pictures, label=[1.0, 0.5, float("nan")]) == [
        1,
        "its label is 0.5, which is no whole number",
        "its label is nan, which is no whole number",
    ]


def test_coco_and_npz_and_cub(tmp_path):
    root = layouts.coco(tmp_path / "coco")
    values = [None, float("nan"), "", "a cat", ["a dog", None], 5]
    annotations = {"annotations": [{"image_id": 5, "caption": value} for value in values] + [{"image_id": 5}]}
    layouts.put(root / "annotations" / "captions_train2014.json", BOM + json.dumps(annotations).encode())
    assert opened(root, source="coco") == ["missing"] * 3 + [["a cat"], ["a dog"], "broken", "missing"]

    root = layouts.npz(tmp_path / "npz")
    rows = [{"caption": f"thing {i}", "kind": "ab"[i % 2]} for i in range(12)]
    rows[1]["caption"], rows[2]["caption"], rows[3]["caption"] = None, ["one", "two"], float("nan")
    layouts.put(root / "captions.jsonl", "\n".join(map(json.dumps, rows)))
    assert opened(root, source="npz")[:5] == [["thing 0"], "missing", ["one", "two"], "missing", ["thing 4"]]
    found = opened(root, source="npz", options={"caption_template": "{kind}: {caption}"})
    assert found[:5] == [["a: thing 0"], "missing", ["a: one", "a: two"], "missing", ["a: thing 4"]]

    root = layouts.cub200(tmp_path / "cub")
    layouts.put(root / "text/text/001.Bird/Bird_0000.txt", BOM + b"a bird\x0cin flight\r\n\r\nanother\r\n")
    (root / "text/text/001.Bird/Bird_0001.txt").unlink()
    assert opened(root, source="cub200")[:2] == [["a bird\x0cin flight", "another"], "missing"]


def test_coco_whose_captions_are_all_lists(tmp_path):
    root = layouts.coco(tmp_path / "coco")
    rows = [{"image_id": 5, "caption": ["a cat", "a kitten"]}, {"image_id": 7, "caption": ["a dog"]}]
    (root / "annotations" / "captions_train2014.json").write_text(json.dumps({"annotations": rows}))
    assert opened(root, source="coco") == [["a cat", "a kitten"], ["a dog"]]


def test_one_caption_of_one_is_chosen_without_a_draw():
    ours, numpys = np.random.default_rng(3), np.random.default_rng(3)
    for _ in range(3):  # the stream of examples is the one that earlier versions gave
        assert choose(1, 0.0, ours) == int(numpys.integers(1)) == 0
        numpys.random()
    assert ours.bit_generator.state == numpys.bit_generator.state
