"""``kinephoto evaluate``: measure what comes with kinephoto, or is to come, on one's own photos."""

import typer

from kinephoto.app.evaluate.inpainting import inpainting
from kinephoto.app.evaluate.outpainting import outpainting

evaluate = typer.Typer(help="Measure painters and depth on photos and posed scenes.", no_args_is_help=True)
for command in (inpainting, outpainting):
    evaluate.command(command.__name__)(command)
