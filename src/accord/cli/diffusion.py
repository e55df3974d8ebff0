"""`accord diffusion`: alignment of diffusion models, shown on points and drawings."""

from __future__ import annotations

from accord.cli.terminal import console


def diffusion(*, seeds: int = 1, out: str = "runs/diffusion/diffusion.md") -> int:
    """Align small diffusion models of points and drawings to a taste, and write a page of what became of them.

    A seed takes about two minutes on one core.

    Args:
        seeds: how many times, each with its own models, preferences and samples.
        out: the Markdown page; its picture and figures go beside it.
    """
    from accord.recipes.diffusion_demo import demonstrate

    screen = console()
    demonstrate(seeds=seeds, out=out, console=screen)
    screen.print(f"page: {out}", soft_wrap=True)
    return 0
