"""The protocols of both papers, and two for trying things out.

Where a paper or its authors say how a number was made, the field says the
same; what they do not say is chosen here and named in ``notes``.
"""

from __future__ import annotations

from pathlib import Path

from ..data.scenes.concepts import EMBEDDED
from ..errors import EvaluationError, did_you_mean
from ..sampling import Ancestral, SamplingSettings
from .protocol import Protocol, read_protocol

_TEXT = (
    "The papers do not say which pictures of the split are the reference, nor how they were resized: centre crops here."
)

PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        Protocol(
            name="coco30k",
            source="coco",
            num_samples=30000,
            num_reference=30000,
            published={"fid": 8.44},
            notes="30000 captions of val2014 at random, each once, against 30000 pictures of val2014 at random. "
            "The published FID is the "
            "improved paper's, of its own model and sampling; that of VQ-Diffusion as the first paper has it is "
            "5.42 higher, 13.86. "
            f"{_TEXT}",
        ),
        Protocol(
            name="cub200",
            source="cub200",
            num_samples=30000,
            num_reference=30000,
            order="sequential",
            notes="30000 captions of the test split against its 2933 pictures oversampled to 30000, as the "
            "authors say they did.",
        ),
        Protocol(
            name="cc",
            source="folder",
            source_options={"captions": "captions.jsonl"},
            reference_split="train",  # all of a folder without splits
            num_samples=30000,
            num_reference=30000,
            notes=f"Conceptual Captions' validation pictures in a folder, with a captions file. {_TEXT}",
        ),
        Protocol(
            name="ithq",
            source="folder",
            source_options={"captions": "captions.jsonl"},
            reference_split="train",  # all of a folder without splits
            num_samples=30000,
            notes="ITHQ itself is not public: give pictures with captions of your own. Compare only with runs on "
            "the same ones.",
        ),
        Protocol(
            name="imagenet50k",
            source="imagenet",
            reference_split="train",
            num_samples=50000,
            image_format="jpeg",
            metrics=("fid", "inception_score"),
            sampling=SamplingSettings(truncation_rate=0.869),
            published={"fid": 11.89},
            notes="50 samples of each class against every training picture; truncation 0.869, as the authors say "
            "the 11.89 was made. "
            "With classifier-free guidance: guidance_scale=1.5, truncation_rate=0.94 (published FID 4.83). The "
            "released code saves "
            "class samples as JPEG. The other metrics hold or compare all 1.28 million rows of features: for "
            "them, name fewer metrics and set num_reference=50000.",
        ),
        Protocol(
            name="ffhq",
            source="ffhq",
            reference_split="train",
            num_samples=50000,
            sampling=SamplingSettings(truncation_rate=1.0),
            notes="50000 samples against all training pictures; the paper does not say how many samples it drew.",
        ),
        Protocol(
            name="oxford102",
            source="oxford102",
            num_samples=30000,
            num_reference=30000,
            order="sequential",
            notes=f"As for CUB-200, whose arrangement previous work shares. {_TEXT}",
        ),
        Protocol(
            name="emoji",
            what=("samples", "likelihood", "reconstruction"),
            metrics=("following", "judge_fid", "judge_precision_recall"),
            num_likelihood=100,
            source="scene_questions",
            source_options={"concepts": EMBEDDED},
            num_samples=1000,
            order="sequential",
            caption="first",
            sampling=SamplingSettings(
                strategy=Ancestral(num_inference_steps=25), guidance_scale=1.5, truncation_rate=1.0
            ),
            notes="1000 scenes in fixed numbers of each kind, half of them of combinations that training never "
            "shows; a judge, a "
            "network trained on other real scenes, says whether the pictures drawn from their captions "
            "show them, and how often "
            "it is right itself about the real pictures of the very same scenes. 25 of 100 timesteps, so that "
            "two CPU cores are done in "
            "minutes. FID, precision and recall are of the judge's features: they compare with one another only.",
        ),
        Protocol(
            name="own",
            reference_split="train",
            notes="Any folder of pictures; change its fields, or write them to a JSON file.",
        ),
    )
}


def find_protocol(name: str) -> Protocol:
    """Return the protocol of that name, or of a JSON file.

    Raises EvaluationError naming the nearest one if there is none.
    """
    if name in PROTOCOLS:
        return PROTOCOLS[name]
    if Path(name).suffix == ".json":
        return read_protocol(name)
    known = f"known: {', '.join(PROTOCOLS)}, or a .json file of Protocol's fields"
    raise EvaluationError(f"unknown protocol {name!r}{did_you_mean(name, PROTOCOLS) or ';'} {known}")
