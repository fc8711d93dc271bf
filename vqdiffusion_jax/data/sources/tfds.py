"""A TensorFlow Datasets data set, prepared as ArrayRecord, through ``tfds.data_source`` (no TensorFlow is used)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ...errors import BrokenRecord, DataError
from ..caption_table import captions_of_rows
from ..captions import field_of
from ..extras import needed
from ..records import Record


class Tfds:
    """The data set ``name`` below ``root``, which is TFDS's data_dir.

    It must have been prepared with ``file_format="array_record"``.

    Args:
      name: e.g. ``"oxford_flowers102:2.1.1"``.
      train_split, validation_split: TFDS's names, slices allowed (``"train[:95%]"``).
      image_field, caption_field, label_field: features; ``""`` for none.  A caption may be text or a list of texts.
    """

    def __init__(
        self,
        root: Path,
        split: str,
        *,
        name: str = "",
        train_split: str = "train",
        validation_split: str = "validation",
        image_field: str = "image",
        caption_field: str = "",
        label_field: str = "",
    ):
        tfds = needed("tensorflow_datasets", "a TFDS data set")
        if not name:
            raise DataError("tfds: the option name is needed, e.g. name='oxford_flowers102'")
        self._name = name
        self._fields = {"image": image_field, "captions": caption_field, "label": label_field}
        try:
            builder = tfds.builder(name, data_dir=root)
            # The bytes of pictures, which are then decoded as those of every other source are.
            features = builder.info.features
            is_file = image_field in features and isinstance(features[image_field], tfds.features.Image)
            self._source = builder.as_data_source(
                split=train_split if split == "train" else validation_split,
                decoders={image_field: tfds.decode.SkipDecoding()} if is_file else None,
            )
        except Exception as error:  # TFDS raises a class of its own for each thing that can be missing
            reason = str(error).strip().splitlines()[0] if str(error).strip() else ""
            raise DataError(f"TFDS cannot open {name} below {root} ({type(error).__name__}: {reason})") from error
        if unknown := [
            field for field in self._fields.values() if field and field.split(".")[0] not in builder.info.features
        ]:
            raise DataError(f"{name} has no feature {', '.join(unknown)}; it has {', '.join(builder.info.features)}")
        self.num_classes = getattr(builder.info.features[label_field], "num_classes", None) if label_field else None

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> Record:
        name = f"{self._name}[{index}]"
        try:
            example = self._source[index]
        except Exception as error:  # its decoders raise errors of many classes
            raise BrokenRecord(name, f"TFDS cannot read it: {error or type(error).__name__}") from error
        image = example[self._fields["image"]]
        record = Record(id=name, image=image if isinstance(image, bytes) else np.asarray(image))
        if field := self._fields["captions"]:
            record["captions"] = captions_of_rows([field_of(example, field)], name)
        if field := self._fields["label"]:
            record["label"] = int(example[field])
        return record
