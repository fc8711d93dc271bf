"""CLIP scores against transformers' CLIP on the same random weights."""

import numpy as np
import pytest

from vqdiffusion_jax.errors import EvaluationError
from vqdiffusion_jax.evaluation.clip_score import (
    CaptionScorer,
    image_embeddings,
    load_towers,
    preprocess,
    text_embeddings,
)
from vqdiffusion_jax.evaluation.extractors import ClipCosines

TEXTS = ["a red apple", "two dogs on a beach, one of them asleep", "snow", "a long exposure photo of a waterfall"]


def pictures(height=40, width=61):
    return np.random.default_rng(0).integers(0, 256, (4, height, width, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def peer(tmp_path_factory):
    """A small CLIPModel of transformers, and the folder it was saved to."""
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    torch.manual_seed(0)
    shared = dict(
        hidden_size=32, intermediate_size=128, num_hidden_layers=2, num_attention_heads=2, hidden_act="quick_gelu"
    )
    config = transformers.CLIPConfig(
        text_config=dict(
            vocab_size=49408,
            max_position_embeddings=16,
            bos_token_id=49406,
            eos_token_id=49407,
            pad_token_id=0,
            **shared,
        ),
        vision_config=dict(image_size=32, patch_size=8, **shared),
        projection_dim=24,
    )
    model = transformers.CLIPModel(config).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    folder = tmp_path_factory.mktemp("clip")
    model.save_pretrained(folder)
    return model, folder


def test_scores_are_those_of_transformers(peer):
    import torch

    model, folder = peer
    scorer = CaptionScorer(*load_towers(folder))
    ids, _ = scorer._tokenizer(TEXTS)
    pixels = preprocess(pictures(), 32)
    mean, deviation = np.array([0.48145466, 0.4578275, 0.40821073]), np.array([0.26862954, 0.26130258, 0.27577711])
    ready = ((pixels - mean) / deviation).transpose(0, 3, 1, 2).astype(np.float32)
    with torch.no_grad():
        out = model(input_ids=torch.tensor(np.asarray(ids), dtype=torch.long), pixel_values=torch.tensor(ready))
        expected = (out.image_embeds * out.text_embeds).sum(-1).numpy()
    found = scorer(pictures(), TEXTS)
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert expected.std() > 0.01
    np.testing.assert_allclose(image_embeddings(scorer.image, pixels), out.image_embeds.numpy(), atol=1e-4)
    np.testing.assert_allclose(text_embeddings(scorer.text, ids), out.text_embeds.numpy(), atol=1e-4)
    rows = ClipCosines(scorer, batch_size=3)(pictures(), [{"prompt": text} for text in TEXTS])
    np.testing.assert_allclose(rows["clip_cosine"], found, atol=1e-5)
    with pytest.raises(EvaluationError, match="4 pictures and 3 captions"):
        scorer(pictures(), TEXTS[:3])


def test_pictures_are_prepared_as_openai_does():
    from PIL import Image

    for height, width in ((40, 61), (61, 40), (32, 32), (20, 20)):
        picture = pictures(height, width)[1]
        short = min(height, width)
        resized = Image.fromarray(picture).resize((int(32 * width / short), int(32 * height / short)), Image.BICUBIC)
        left, top = round((resized.width - 32) / 2), round((resized.height - 32) / 2)
        expected = np.asarray(resized)[top : top + 32, left : left + 32] / 255
        np.testing.assert_allclose(preprocess(picture[None], 32)[0], expected, atol=1e-7)


def test_a_missing_file_or_tower_is_one_line(tmp_path, peer):
    with pytest.raises(EvaluationError, match=r"does not exist; the file is ViT-B-32.pt, OpenAI's release"):
        load_towers(tmp_path / "absent.pt")
    peer[0].text_model.save_pretrained(tmp_path / "text")
    with pytest.raises(EvaluationError, match="has no image tower; CLIP scores need both"):
        load_towers(tmp_path / "text")
