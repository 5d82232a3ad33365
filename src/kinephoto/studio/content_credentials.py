"""Content Credentials: a signed C2PA manifest inside the file, written and checked by c2pa-python.

A manifest binds what is said of a file to its bytes: whoever changes a pixel afterwards breaks it. The
signature holds a random name and the day, so a signed file isn't the same bytes twice. Nothing here touches
the network.
"""

from __future__ import annotations

import json
import mmap
import os
from dataclasses import asdict, dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any

from kinephoto.errors import InputError
from kinephoto.studio.certificates import INSTALL, Signer
from kinephoto.studio.provenance import Provenance

ASSERTION = "org.kinephoto.invented"
"""Our own assertion: everything of ``Provenance``."""

MEDIA_TYPES = {
    ".mp4": "video/mp4",
    ".mov": "video/quicktime",
    ".gif": "image/gif",
    ".webp": "image/webp",
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
}
# A file may have any suffix; other kinds than these are taken by it.
_STARTS = {b"\xff\xd8": "jpg", b"\x89PNG": "png", b"GIF8": "gif", b"RIFF": "webp"}
# The smallest GIF: one white pixel.
_PIXEL = bytes.fromhex("474946383961010001008000 00ffffff0000002c00000000010001000002024401003b")
_OFFLINE = {"verify": {"remote_manifest_fetch": False, "ocsp_fetch": False}}
# Without the second, c2pa holds a file twice in memory while it signs; with it, once.
_SIGNING = _OFFLINE | {
    "builder": {"thumbnail": {"enabled": False}},
    "core": {"backing_store_memory_threshold_in_mb": 16},
}
_UNTRUSTED = "signingCredential.untrusted"  # says only that no list of trusted signers names this one


_PHOTO = "photo"  # what the photo is called inside a manifest


@dataclass(frozen=True)
class Verdict:
    """What a file's Content Credentials are worth.

    Attributes:
        state: "trusted": unchanged, and the signer is on the list given; "valid": unchanged, by a signer that
            nobody vouches for; "broken": the file or the manifest was changed, or the signature is no good.
        signer: the name in its certificate.
        issuer: the organisation in its certificate.
        problems: what is wrong, in C2PA's words and codes.
        actions: what was done, in C2PA's words, such as "c2pa.edited".
        ingredients: names of what the file was made from.
        assertion: what our own assertion says; empty if there is none.
    """

    state: str
    signer: str
    issuer: str
    problems: tuple[str, ...]
    actions: tuple[str, ...]
    ingredients: tuple[str, ...]
    assertion: dict[str, Any]


def is_installed() -> bool:
    """Whether Content Credentials can be read here."""
    from importlib.util import find_spec

    return find_spec("c2pa") is not None


def check_holds_credentials(target: str | Path) -> None:
    """Refuse now what could not be signed at the end of the work.

    Raises:
        InputError: C2PA has no place for a manifest in this kind of file.
    """
    suffix = ".png" if _is_folder(target) else Path(target).suffix.lower()
    if suffix not in MEDIA_TYPES:
        kinds = ", ".join(kind for kind in MEDIA_TYPES if kind != ".jpeg")
        raise InputError(
            f"{target} cannot hold Content Credentials; {kinds} and a folder of PNG pictures can."
        )


def ready(signer: Signer, photo: Path | None = None) -> Signer:
    """The signer, after it has signed one white pixel: what C2PA doesn't take is refused before the work.

    Args:
        signer: from `kinephoto.studio.certificates`.
        photo: the file that the film is to be made from; it is left out if C2PA cannot read it.

    Raises:
        InputError: the certificate or key is refused.
    """
    trial = Provenance("kinephoto 0", "nobody", "none", 0)
    for origin in (photo, None):
        chosen = replace(signer, photo=origin)
        pixel = BytesIO(_PIXEL)
        try:
            _signed(chosen, _manifest(trial, "pixel.gif", origin), "image/gif", pixel, BytesIO())
        except InputError:
            if origin is None:
                raise
        else:
            break
    return chosen


def sign(path: Path, signer: Signer, provenance: Provenance, title: str) -> None:
    """Put a signed manifest into a file, which is replaced as a whole.

    Args:
        path: of a kind that `check_holds_credentials` takes.
        signer: from `kinephoto.studio.certificates`.
        provenance: what to say.
        title: the file's name, as others will know it.

    Raises:
        InputError: the certificate or key is refused.
    """
    beside = path.with_name(path.name + ".signed")
    try:
        with path.open("rb") as source, beside.open("w+b") as target:
            manifest = _manifest(provenance, title, signer.photo)
            _signed(signer, manifest, MEDIA_TYPES[path.suffix.lower()], source, target)
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def verdict_on(path: Path, trust: str | Path | None = None) -> Verdict | None:
    """Check a file's Content Credentials; None if it has none.

    Args:
        path: any file.
        trust: a PEM file with certificates whose signatures are to be trusted.

    Raises:
        InputError: the list of trusted certificates cannot be read, or c2pa-python is missing.
    """
    if not is_installed():
        raise InputError(f"Content Credentials need c2pa-python: {INSTALL}.")
    import c2pa

    settings: dict[str, Any] = dict(_OFFLINE)
    if trust is not None:
        settings["trust"] = {"trust_anchors": _anchors(trust)}
    try:
        with path.open("rb") as file:
            reader = c2pa.Reader.try_create(file, context=c2pa.Context.from_dict(settings))
            if reader is None:
                return None
            with reader:
                return _verdict(json.loads(reader.json()))
    except c2pa.C2paError.NotSupported:
        return None
    except c2pa.C2paError as error:
        if not _mentions_c2pa(path):
            return None  # a file that c2pa cannot take apart, for reasons of its own
        return Verdict("broken", "", "", (_reason(error),), (), (), {})


def _manifest(provenance: Provenance, title: str, photo: Path | None) -> dict[str, Any]:
    """In the form that c2pa-python takes; actions as in C2PA's specification 2.2, section 18.15."""
    name, _, version = provenance.software.partition(" ")
    agent = {"name": name, "version": version}
    begun: dict[str, Any] = {"action": "c2pa.created", "digitalSourceType": provenance.source_type}
    if photo is not None:
        begun = {"action": "c2pa.opened", "parameters": {"ingredientIds": [_PHOTO]}}
    edited = {
        "action": "c2pa.edited",
        "softwareAgent": agent,
        "digitalSourceType": provenance.source_type,
        "description": "The camera was moved; a painter made up what came into view.",
    }
    return {
        "claim_generator_info": [agent],
        "title": title,
        "assertions": [
            {"label": "c2pa.actions.v2", "data": {"actions": [begun, edited]}},
            {"label": ASSERTION, "data": asdict(provenance)},
        ],
    }


def _signed(signer: Signer, manifest: dict[str, Any], media_type: str, source: Any, target: Any) -> None:
    import c2pa

    info = c2pa.C2paSignerInfo(signer.algorithm, signer.chain_pem, signer.key_pem, None)
    try:
        with (
            c2pa.Context.from_dict(_SIGNING) as context,
            c2pa.Signer.from_info(info) as native,
            c2pa.Builder(manifest, context) as builder,
        ):
            if signer.photo is not None:
                _add_photo(builder, signer.photo)
            builder.sign(native, media_type, source, target)
    except c2pa.C2paError as error:
        raise InputError(f"{signer.name} cannot sign Content Credentials: {_reason(error)}.") from error


def _add_photo(builder: Any, photo: Path) -> None:
    ingredient = {"title": photo.name, "relationship": "parentOf", "instance_id": _PHOTO}
    with photo.open("rb") as file:
        start = file.read(4)
        file.seek(0)
        told = [kind for first, kind in _STARTS.items() if start.startswith(first)]
        builder.add_ingredient(ingredient, told[0] if told else photo.suffix[1:].lower(), file)


def _verdict(store: dict[str, Any]) -> Verdict:
    manifest = store.get("manifests", {}).get(store.get("active_manifest", ""), {})
    signature = manifest.get("signature_info") or {}
    problems = tuple(
        f"{each.get('explanation') or 'no explanation'} ({each.get('code')})"
        for each in store.get("validation_status") or []
        if each.get("code") != _UNTRUSTED
    )
    words = {"Trusted": "trusted", "Valid": "valid"}
    assertions = {each.get("label"): each.get("data") for each in manifest.get("assertions", [])}
    actions = (assertions.get("c2pa.actions.v2") or assertions.get("c2pa.actions") or {}).get("actions", [])
    return Verdict(
        words.get(store.get("validation_state", ""), "broken"),
        signature.get("common_name") or "",
        signature.get("issuer") or "",
        problems,
        tuple(str(each.get("action")) for each in actions),
        tuple(str(each.get("title")) for each in manifest.get("ingredients", [])),
        assertions.get(ASSERTION) or {},
    )


def _mentions_c2pa(path: Path) -> bool:
    """Whether there is anything of a manifest, which is a JUMBF box (ISO 19566-5) with this label."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return data.find(b"jumdc2pa") >= 0


def _anchors(trust: str | Path) -> str:
    from cryptography import x509

    try:
        text = Path(trust).read_bytes()
        x509.load_pem_x509_certificates(text)
    except OSError as error:
        raise InputError(f"{trust} cannot be read: {error.strerror or error}.") from error
    except ValueError:
        raise InputError(f"{trust} holds no certificates in PEM form.") from None
    return text.decode()


def _reason(error: Exception) -> str:
    """What c2pa says, on one line."""
    return " ".join(str(error).split()).rstrip(". ") or type(error).__name__


def _is_folder(target: str | Path) -> bool:
    return str(target).endswith(("/", os.sep)) or Path(target).is_dir()
