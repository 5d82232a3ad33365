"""``kinephoto pack``: photos become shards to train from."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from kinephoto.app.flags import Quiet
from kinephoto.app.options import with_settings
from kinephoto.app.show import bar, say
from kinephoto.learn.pack_settings import PackSettings
from kinephoto.wording import counted

EXAMPLES = """
Examples:

  kinephoto pack photos/ -o shards

  kinephoto pack photos/ -o shards --captions captions.json --objects instances.json --shard-mb 1000

  kinephoto train painter --photos "shards/photos-{000000..000127}.tar"
"""


@with_settings(PackSettings)
def pack(
    photos: Annotated[Path, typer.Argument(metavar="PHOTOS", help="A folder of photos.")],
    *,
    settings: PackSettings,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="SHARDS", help="The shards' folder.")],
    quiet: Quiet = False,
) -> None:
    """Pack photos, depth, captions and objects into WebDataset shards; the same command goes on where it stopped."""
    from kinephoto.interrupts import ending_cleanly
    from kinephoto.learn.pack import pack as run

    work = run(photos, output, settings)
    with ending_cleanly(), closing(work), bar(quiet) as progress:
        for state in work:
            if progress is not None:
                progress("packing", state.done / state.total)
            if state.note:
                say(f"Note: {state.note}", quiet)
    say(
        f"{output}: {counted(state.done - state.skipped, 'photo')} in {counted(state.shards, 'shard')}; "
        f"{counted(state.skipped, 'photo')} could not be used; {output / 'index.json'} lists and checks them.",
        quiet,
    )
