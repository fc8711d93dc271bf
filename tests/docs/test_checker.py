"""The check of documents finds what is wrong with them."""

import pytest

from tests.docs.blocks import blocks, commands
from tests.docs.running import WrongBlock, run_document

WRONG = {
    "no such flag": ("    python main.py --promt=x", "--prompt"),
    "no such value": ("    python main.py --prompt=x --strategy=fastest", "should be one of <posterior|"),
    "no such mode": ("    python main.py --mode=smaple", "should be one of <sample|"),
    "a flag of another mode": (
        "    python main.py --mode=train --config=configs/coco.py --workdir=x --prompt=y",
        "sample, not train",
    ),
    "flags that do not go together": (
        "    python main.py --prompt=x --strategy=purity --num_inference_steps=5",
        "--num_inference_steps goes with",
    ),
    "a file that is nowhere": ("    python main.py --checkpoint=ithq_lernable.pth --prompt=x", "does not exist"),
    "what the embedded model does not know": (
        '    python main.py --prompt="a small xylophone"',
        "'a small xylophone' names nothing",
    ),
    "a word that the embedded model does not know": (
        '    python main.py --prompt="a penguin with a xylophone"',
        "emoji was not taught xylophone",
    ),
    "a codec that is nowhere": (
        "    python main.py --mode=tokenize --config=configs/emoji_tiny.py --codec=runs/vqgan_emjoi/model --out=x",
        "vqgan_emjoi",
    ),
    "a data set that is nowhere": (
        "    python main.py --mode=train_vqgan --config=configs/vqgan_emoji.py --config.data.root=data/emjoi "
        "--workdir=x",
        "data/emjoi",
    ),
    "a report that is nowhere": (
        "    python main.py --mode=step_schedule --report=EVAL/report.json --num_inference_steps=10",
        "EVAL/report.json",
    ),
    "a missing companion": ("    python main.py --checkpoint=coco_learnable.pth --prompt=x", "mapping"),
    "a field that no config has": (
        "    python main.py --mode=train --config=configs/coco.py --config.stps=1 --workdir=x",
        "stps",
    ),
    "a value that no config takes": (
        "    python main.py --mode=train --config=configs/coco.py --config.steps=0 --workdir=x",
        "steps is 0",
    ),
    "nowhere to train": ("    python main.py --mode=train --config=configs/coco.py", "--workdir is needed"),
    "no such protocol": ("    python main.py --mode=eval --protocol=coco --out=x", "coco30k"),
    "no such field of a protocol": ("    python main.py --mode=eval --set=samples=3 --out=x", "samples"),
    "no such option of a script": (
        "```sh\npython convert/torch_to_flax.py --chekpoint=ithq_learnable.pth --out=x\n```",
        "--chekpoint",
    ),
    "no such module": ("    python -m benchmarks.nothing --out=x", "no module benchmarks.nothing"),
    "options of a module that takes none": ("    python -m benchmarks.all_cpu --out=x", "takes no arguments"),
    "no such option of a module": ("    python -m vqdiffusion_jax.data.emoji --uot=x", "--uot"),
    "no such target": ("    make tset", "target"),
    "no such variable": ("    make test PORMPT=x", "variable"),
    "no such extra": ('    pip install -e ".[trian]"', "trian"),
    "no such program": ("    pyhton main.py", "no command"),
    "a half line": ("    python main.py \\", "backslash"),
    "an open quotation": ('    python main.py --prompt="x', "quotation"),
    "an open fence": ("```python\nx = 1", "not closed"),
    "an unknown language": ("```pyton\nx = 1\n```", "pyton"),
    "python that fails": (
        "```python\nx = 1\n```\n\nand\n\n```python\nassert x == 2\n```",
        "README.md:8: AssertionError",
    ),
    "python that is none": ("```python\nx = = 1\n```", "SyntaxError"),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_block_fails(what, place, capsys):
    text, said = WRONG[what]
    with pytest.raises(WrongBlock) as caught:
        run_document("README.md", f"{text}\n")
    assert said in str(caught.value) + capsys.readouterr().err


def test_kinds_of_blocks():
    text = "# x\n\n    q(x_t) = A\n\nand\n\n    A=1 python a.py --b='c d' \\\n        --e  # f\n    make g\n\n"
    found = blocks(text + "- item\n\n    more of it\n\n```\nh(i)\n```\n")
    assert [(block.language, block.line) for block in found] == [("text", 3), ("shell", 7), ("text", 16)]
    assert commands(found[1]) == [(7, ["python", "a.py", "--b=c d", "--e"]), (9, ["make", "g"])]
