"""CLIP's text tower beside transformers' with the same weights.

python -m benchmarks.text [--models coco_cf,emoji] [--batches 1,4]
"""

from __future__ import annotations

import jax

from benchmarks._measure import WITHOUT_FLOAT8, alternate, arguments, finish_beside_matmul, matmul_ceiling, rows_of
from benchmarks._models import config_of, peer_of, random_ids, random_model
from vqdiffusion_jax.flops import text_encoder_flops


def main() -> None:
    parser = arguments(__doc__, "text", WITHOUT_FLOAT8)
    parser.add_argument("--models", default="coco_cf,emoji")
    parser.add_argument("--batches", default="1,4")
    options = parser.parse_args()
    ceiling, rows, notes = matmul_ceiling(options.dtype), [], {}
    for name in options.models.split(","):
        config = config_of(name, layers=1)  # the denoiser is not run
        model = random_model(config, options.dtype)
        peer = peer_of(model, options.dtype)
        encode = jax.jit(lambda tower, ids: tower(ids))
        for batch in map(int, options.batches.split(",")):
            ids = random_ids(config, batch)
            contestants = {
                "ours": lambda ids=ids, encode=encode, model=model: encode(model.text_encoder, ids).block_until_ready()
            }
            if isinstance(peer, str):
                notes[name] = peer
            else:
                contestants[peer.name.replace("diffusers", "transformers")] = _theirs(peer, ids)
            flops = batch * text_encoder_flops(config.text_encoder)
            facts = {"batch": batch, "length": ids.shape[1], "dtype": options.dtype}
            rows += rows_of(f"{name} x {batch}", alternate(contestants, options.repeats), flops=flops, **facts)
    finish_beside_matmul("text", rows, options, ceiling, missing=notes)


def _theirs(peer, ids):
    ids = peer.tensor(ids).long()

    def run():
        with peer.torch.inference_mode():
            peer.text_encoder(ids)
        peer.synchronise()

    return run


if __name__ == "__main__":
    main()
