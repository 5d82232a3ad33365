"""``kinephoto evaluate``: measure what comes with kinephoto, or is to come, on one's own photos."""

import typer

from kinephoto.app.evaluate.depth import depth
from kinephoto.app.evaluate.inpainting import inpainting
from kinephoto.app.evaluate.outpainting import outpainting
from kinephoto.app.evaluate.speed import speed
from kinephoto.app.evaluate.views import views

evaluate = typer.Typer(
    help="Measure painters, depth and speed on photos and posed scenes.", no_args_is_help=True
)
for command in (depth, inpainting, outpainting, speed, views):
    evaluate.command(command.__name__)(command)
