"""``kinephoto info``: what a file says of how it was made, and whether that can be believed."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from kinephoto.studio.content_credentials import Verdict
    from kinephoto.studio.provenance import Found, Provenance

WIDTH = 12


def info(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A video or picture, made by kinephoto or not.")
    ],
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
    trust: Annotated[
        Path | None, typer.Option(help="PEM file with the certificates whose signatures you trust.")
    ] = None,
) -> None:
    """Say how a file was made and how much of it is invented: exit code 1 if its signature is broken."""
    from kinephoto.studio.provenance import read_provenance

    found = read_provenance(file, trust)
    lines = [json.dumps(_content(file, found), indent=2)] if as_json else map(_printable, _lines(file, found))
    print("\n".join(lines))
    if found.verdict is not None and found.verdict.state == "broken":
        raise typer.Exit(1)


def _content(file: Path, found: Found) -> dict[str, Any]:
    return {
        "file": str(file),
        "made_by_kinephoto": found.provenance is not None,
        "provenance": asdict(found.provenance) if found.provenance else None,
        "stated_in": list(found.places),
        "content_credentials": asdict(found.verdict) if found.verdict else None,
        "content_credentials_looked_for": found.looked,
    }


def _lines(file: Path, found: Found) -> list[str]:
    if found.provenance is None:
        lines = [f"{file.name} doesn't say that kinephoto made it."]
    else:
        lines = [f"{file.name}: made by {found.provenance.software}.", *_how(found.provenance)]
        lines.append(_line("Stated in", ", ".join(found.places)))
    if found.verdict is not None:
        lines += [_line("Signature", _sentence(found.verdict)), *_details(found.verdict)]
    elif found.provenance is not None:
        lines.append(
            _line("Signature", "none, so anybody could have written this." if found.looked else _absent())
        )
    return lines


def _how(provenance: Provenance) -> list[str]:
    lines = [_line("Kind", provenance.source_type.rsplit("/", 1)[-1])]
    if provenance.invented_share is not None:
        most = provenance.invented_most
        peak = f", at most {most:.2%} of a frame" if most is not None else ""
        lines.append(_line("Invented", f"{provenance.invented_share:.2%} of all pixels{peak}"))
    named = {name: value for name, value in provenance.settings.items() if not hasattr(provenance, name)}
    said = ", ".join(f"{name} {_word(value)}" for name, value in named.items() if value is not None)
    return [
        *lines,
        _line("Painter", provenance.painter),
        _line("Depth", provenance.depth),
        _line("Seed", str(provenance.seed)),
        *([_line("Settings", said)] if said else []),
    ]


def _sentence(verdict: Verdict) -> str:
    signer = verdict.signer or "somebody without a name"
    if verdict.state == "broken":
        return f"BROKEN: {signer} signed something else, or the signature is no good."
    if verdict.state == "trusted":
        return f"whole; {signer} ({verdict.issuer}) signed it, and is trusted."
    return f"whole; {signer} signed it, whom no list of trusted signers names: it proves only that nothing was changed."


def _details(verdict: Verdict) -> list[str]:
    lines = [_line("", problem) for problem in verdict.problems]
    if verdict.actions:
        made_from = f" from {', '.join(verdict.ingredients)}" if verdict.ingredients else ""
        lines.append(_line("Actions", ", ".join(verdict.actions) + made_from))
    return lines


def _absent() -> str:
    from kinephoto.studio.certificates import INSTALL

    return f"not looked for; {INSTALL} brings what reads it."


def _line(name: str, text: str) -> str:
    return f"  {name:<{WIDTH}}{text}"


def _word(value: Any) -> str:
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


def _printable(text: str) -> str:
    """A file's texts come from anybody; what could steer a terminal or begin a line is a question mark."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)
