"""The demonstration at a tiny budget: the page, the picture and the figures are whole and agree."""

import json
import re
from pathlib import Path

import pytest

from accord.diffusion.toys import drawings, rings
from accord.errors import ConfigError
from accord.recipes.diffusion_demo import demonstrate
from accord.recipes.diffusion_study import Budget

TINY = Budget(
    width=16, pretraining=5, pairs=32, alignment=3, denoising=3, consistency=3, batch=16, samples=25, schedule=25
)


def test_the_page_says_what_the_figures_say(tmp_path: Path) -> None:
    out = tmp_path / "page" / "diffusion.md"
    page = demonstrate(seeds=2, out=out, toys=((rings(), TINY), (drawings(), TINY)))
    text = out.read_text(encoding="utf-8")
    assert f"accord diffusion --seeds 2 --out {out}" in text
    for block in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        assert len({line.count("|") for line in block.splitlines()}) == 1, block
    assert out.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    figures = json.loads(out.with_suffix(".json").read_text(encoding="utf-8"))
    assert [toy["name"] for toy in figures["toys"]] == ["points", "drawings"]
    for toy in page.toys:
        assert len(toy.rows) == 9
        assert all(len(row.by_seed) == 2 and row.reward.after.n == 50 for row in toy.rows)
        assert toy.accuracy.n == 2 * TINY.pairs // 4


@pytest.mark.parametrize(("arguments", "flag"), [({"seeds": 0}, "--seeds"), ({"out": "page.html"}, "--out")])
def test_a_mistake_is_named_before_anything_is_trained(arguments: dict[str, object], flag: str) -> None:
    with pytest.raises(ConfigError, match=flag):
        demonstrate(**arguments)  # type: ignore[arg-type]
