"""Tokens to pixels: the codec's decoder beside diffusers' with the same weights.

python -m benchmarks.decode [--models coco_cf,ithq,emoji] [--batches 1,4]
"""

from __future__ import annotations

import jax

from benchmarks._measure import WITHOUT_FLOAT8, alternate, arguments, finish_beside_matmul, matmul_ceiling, rows_of
from benchmarks._models import config_of, peer_of, random_model, random_tokens
from vqdiffusion_jax.flops import decoder_flops


def main() -> None:
    parser = arguments(__doc__, "decode", WITHOUT_FLOAT8)
    parser.add_argument("--models", default="coco_cf,ithq,emoji")
    parser.add_argument("--batches", default="1,4")
    options = parser.parse_args()
    ceiling, rows, notes = matmul_ceiling(options.dtype), [], {}
    for name in options.models.split(","):
        config = config_of(name, layers=1)  # the denoiser is not run
        model = random_model(config, options.dtype)
        peer = peer_of(model, options.dtype)
        decode = jax.jit(lambda codec, tokens: codec.decode(tokens))
        for batch in map(int, options.batches.split(",")):
            tokens = random_tokens(config, batch) % config.codec.num_codes
            contestants = {
                "ours": lambda tokens=tokens, decode=decode, model=model: decode(
                    model.codec, tokens
                ).block_until_ready()
            }
            if isinstance(peer, str):
                notes[name] = peer
            else:
                contestants[peer.name] = _theirs(peer, tokens, config)
            flops = batch * decoder_flops(config.codec)
            facts = {"batch": batch, "grid": config.codec.grid, "dtype": options.dtype}
            rows += rows_of(f"{name} x {batch}", alternate(contestants, options.repeats), flops=flops, **facts)
    finish_beside_matmul("decode", rows, options, ceiling, missing=notes)


def _theirs(peer, tokens, config):
    indices = peer.tensor(tokens).long()
    shape = (len(tokens), *config.codec.grid, config.codec.embed_dim)

    def run():
        with peer.torch.inference_mode():
            codes = peer.codec.quantize.get_codebook_entry(indices, shape=shape)
            peer.codec.decode(codes, force_not_quantize=True)
        peer.synchronise()

    return run


if __name__ == "__main__":
    main()
