"""An inspection of a token cache: what it holds, and what was left out when it was written."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..config import ModelConfig
from ..errors import BrokenRecord, DataError, MissingCaption
from ..storage.copies import here
from ..user_files import read_json
from .account import Account
from .config import DataConfig
from .examples import CachedExamples
from .inspection import Inspection, kind_of
from .token_cache import TokenCache, shard_names

_MOST_BYTES = 2**26  # of the list of what a shard leaves out


def inspect_cache(cache: TokenCache, config: DataConfig, model: ModelConfig, split: str, *, most: int) -> Inspection:
    """Read at most ``most`` examples, spread over the split, and return what was found.

    Raises DataError for a list of left-out examples, beside a shard, that cannot be read.
    """
    account = _account(here(config.cache) / split, cache)
    manifest = cache.manifest
    crops = manifest.get("crops", 1)
    # The lists beside the shards name examples alone, not the files that the source never took for one.
    if made_of := manifest.get("source"):
        account.note(f"made of {made_of}; its left-out files: inspect without data.cache")
    indices = np.unique(np.linspace(0, len(cache) - 1, min(most, len(cache))).round().astype(int)).tolist()
    found = Inspection(
        f"token cache {config.cache}",
        split,
        len(cache),
        len(indices),
        "",
        account,
        tokens=f"{model.denoiser.num_tokens:,} a crop of {manifest['num_codes']:,} codes,"
        f" {crops} crop{'s' if crops != 1 else ''} a picture, codec {manifest['codec_fingerprint'][:12]}",
    )
    examples = CachedExamples(cache, model, missing_captions=config.missing_captions)
    for index in indices:
        try:
            examples(index, None)
            found.captions.append(len(cache[index]["captions"]))
        except BrokenRecord as error:
            account.left_out(kind_of(error), error.name)
    return found


def _account(folder: Path, cache: TokenCache) -> Account:
    """Return what was left out of the cache's split, from the lists beside its shards."""
    account = Account()
    lists = [(folder / shard).with_suffix(".json") for shard in shard_names(cache.manifest)]
    missing = [path.name for path in lists if not path.is_file()]
    if missing:
        account.note(f"{missing[0]} is missing, of {len(missing)} lists of what is left out, a shard each")
    for path in lists:
        if path.name in missing:
            continue
        try:
            table = read_json(path, most=_MOST_BYTES)
            for name, reason in table["broken"].items():
                account.left_out(kind_of(BrokenRecord(name, str(reason))), name)
            for name in table.get("without_caption", ()):
                account.left_out(kind_of(MissingCaption(name)), name)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(f"{path} is not as --mode=tokenize writes it; copy the cache again") from error
    return account
