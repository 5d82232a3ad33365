"""What was generated says so, other people's readers find it, and a signature breaks when the file is changed."""

from __future__ import annotations

import datetime
import json
import os
import struct
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
import torch
from PIL import Image

from kinephoto.app import cli
from kinephoto.errors import InputError
from kinephoto.scene.photo import read_photo
from kinephoto.scene.values import Frame
from kinephoto.studio import certificates, content_credentials
from kinephoto.studio.certificates import LABEL, development_signer, signer_from
from kinephoto.studio.containers import xmp_in
from kinephoto.studio.content_credentials import ready, verdict_on
from kinephoto.studio.outpaint_settings import scene_hw
from kinephoto.studio.pictures import write_picture
from kinephoto.studio.provenance import (
    COMPOSITE,
    Provenance,
    complete,
    provenance_in,
    provenance_of,
    public_settings,
    read_provenance,
    without_folders,
    xmp_of,
)
from kinephoto.studio.settings import AnimateSettings, read_settings
from kinephoto.studio.video import VideoSink, write_video
from kinephoto.studio.xmp import MOST_BYTES, packet_of, properties_of

HW = (48, 64)
SHARES = (0.0, 0.1, 0.0, 0.02)
KNOWN = Provenance("kinephoto 1.2.3", "classical", "depth.png", 7, {"path": "circle", "amount": "auto"})
COMPLETE = replace(KNOWN, invented_share=0.03, invented_most=0.1)
SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"
VIDEOS = ["film.mp4", "film.mov", "film.gif", "film.webp", "film.webm", "film.mkv"]
STILLS = ["still.png", "still.jpg", "still.webp"]
XMP_UUID = "be7acfcb97a942e89c71999491e3afac"  # XMP specification part 3, MPEG-4


def film(noisy: bool = False) -> Iterator[Frame]:
    """Four frames, of which a tenth, two hundredths or nothing is invented."""
    generator = torch.Generator().manual_seed(3)
    ramp = torch.linspace(0, 1, HW[1])[None, None].expand(3, *HW)
    for index, share in enumerate(SHARES):
        rgb = torch.rand(3, *HW, generator=generator) if noisy else (ramp + index / 20).clamp(0, 1)
        yield Frame(rgb, index, torch.full(HW, share))


def written(folder: Path, name: str, **more: Any) -> Path:
    """A film or a still, by its suffix, of which ``KNOWN`` is known."""
    if name in STILLS:
        frame = next(film(noisy=True))
        return write_picture(frame.rgb, folder / name, provenance=COMPLETE, **more)
    return write_video(film(), folder / name, provenance=KNOWN, **more).path


def boxes(data: bytes, begin: int = 0, end: int | None = None) -> list[tuple[str, int, int]]:
    """Kind, begin and end of each box's content (ISO/IEC 14496-12, section 4.2)."""
    found, at, end = [], begin, len(data) if end is None else end
    while at < end:
        length, kind = struct.unpack(">I4s", data[at : at + 8])
        header = 8
        if length == 1:
            length, header = struct.unpack(">Q", data[at + 8 : at + 16])[0], 16
        length = length or end - at
        assert header <= length <= end - at
        found.append((kind.decode("latin1"), at + header, at + length))
        at += length
    return found


def gif_blocks(data: bytes) -> list[tuple[str, int]]:
    """The name of each application extension, or "image", and the begin of its content (GIF89a, 18 to 27)."""
    assert data[:6] == b"GIF89a"
    at, found = 13 + colours(data[10]), []
    while data[at] != 0x3B:
        if data[at : at + 2] == b"\x21\xff":
            found.append((data[at + 3 : at + 14].decode("latin1"), at + 14))
        if data[at] == 0x2C:
            at += 9 + colours(
                data[at + 9]
            )  # with the byte for LZW's code size behind, as long as an extension's head
            found.append(("image", at + 2))
        at += 2
        while data[at]:
            at += data[at] + 1
        at += 1
    assert at == len(data) - 1
    return found


def colours(flags: int) -> int:
    """Bytes of the colour table that a GIF's flags announce."""
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def packet_in(path: Path) -> bytes:
    """The XMP packet of an mp4, mov or gif, found by the format's own rules."""
    data = path.read_bytes()
    if path.suffix == ".gif":
        ((_, begin),) = [each for each in gif_blocks(data) if each[0] == "XMP DataXMP"]
        return data[begin : data.index(b'<?xpacket end="w"?>', begin) + 19]
    ((_, begin, end),) = [each for each in boxes(data) if each[0] == "uuid" and _uuid(data, each) == XMP_UUID]
    return data[begin + 16 : end]


def _uuid(data: bytes, box: tuple[str, int, int]) -> str:
    return data[box[1] : box[1] + 16].hex()


def decoded(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def said_by_pillow(path: Path) -> dict[str, str]:
    with Image.open(path) as image:
        description = image.getxmp()["xmpmeta"]["RDF"]["Description"]
    return {name: text for name, text in description.items() if isinstance(text, str)}


# --- XMP ---


def test_a_packet_is_read_back_whatever_the_texts_hold() -> None:
    space = "http://example.org/#"
    texts = ["plain", "", "<&>\"']]>", "Füße 🏖", "a\nb", '{"json": [1, null]}']
    said = {(space, f"P{number}"): text for number, text in enumerate(texts)}
    found = properties_of(packet_of(said, {space: "e"}))
    assert {name: found[name] for name in said} == said


def test_what_xml_cannot_hold_is_a_question_mark() -> None:
    name = ("http://example.org/#", "P")
    assert properties_of(packet_of({name: "a\0b\ud800c\x1b"}, {name[0]: "e"}))[name] == "a?b?c?"


def test_provenance_survives_an_editor_that_turns_elements_into_attributes() -> None:
    said = {name: text for name, text in properties_of(xmp_of(COMPLETE)).items() if name[1] != "about"}
    spaces = {space: f"n{number}" for number, space in enumerate({space for space, _ in said})}
    attributes = " ".join(f'{spaces[s]}:{n}="{t.replace(chr(34), "&quot;")}"' for (s, n), t in said.items())
    declared = " ".join(f'xmlns:{prefix}="{space}"' for space, prefix in spaces.items())
    rdf = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
    packet = f'<r:RDF xmlns:r="{rdf}"><r:Description r:about="" {declared} {attributes}/></r:RDF>'
    assert provenance_in(packet.encode()) == COMPLETE


BOMB = '<!DOCTYPE a [<!ENTITY x "xxxxxxxxxx"><!ENTITY y "&x;&x;&x;&x;&x;&x;&x;&x;&x;&x;">]>'


@pytest.mark.parametrize(
    "change",
    [
        lambda packet: BOMB.encode() + packet,
        lambda packet: packet.replace(b"classical", b"&x;"),
        lambda packet: packet.replace(b"<x:xmpmeta", b"<!-- --><x:xmpmeta"),
        lambda packet: packet.decode().encode("utf-16"),
        lambda packet: packet + b" " * MOST_BYTES,
        lambda packet: packet[: len(packet) // 2],
        lambda packet: b"<a>" * 100_000 + packet,
        lambda packet: packet.replace(b">7<", b">seven<"),
        lambda packet: packet.replace(b"&quot;", b"").replace(b'{"', b"{["),
        lambda packet: packet.replace(b"kinephoto:Painter", b"kinephoto:Pointer"),
    ],
)
def test_a_packet_that_is_not_as_we_write_it_says_nothing(change: Any) -> None:
    packet = xmp_of(COMPLETE)
    assert provenance_in(packet) == COMPLETE
    assert provenance_in(change(packet)) is None


# --- in files, unsigned ---


@pytest.mark.parametrize("name", STILLS)
def test_pillow_finds_it_in_stills(tmp_path: Path, name: str) -> None:
    said = said_by_pillow(written(tmp_path, name))
    assert said["DigitalSourceType"] == SOURCE_TYPE
    assert said["CreatorTool"] == "kinephoto 1.2.3" and said["AISystemVersionUsed"] == "1.2.3"
    assert (said["Painter"], said["DepthSource"], said["Seed"]) == ("classical", "depth.png", "7")
    assert json.loads(said["Settings"]) == KNOWN.settings
    assert (said["InventedShare"], said["InventedMost"]) == ("0.0300", "0.1000")


@pytest.mark.parametrize("name", ["still.png", "still.jpg"])
def test_a_still_can_be_completed_later(tmp_path: Path, name: str) -> None:
    """As a film is, when it is known how much is invented; the picture stays as it was."""
    path = write_picture(next(film()).rgb, tmp_path / name)
    before = np.asarray(Image.open(path))
    complete(path, KNOWN, list(SHARES))
    assert np.array_equal(before, np.asarray(Image.open(path)))
    assert said_by_pillow(path)["InventedShare"] == "0.0300"
    assert read_provenance(path).provenance == COMPLETE


def test_an_animated_webp_that_stands_still_has_it_too(tmp_path: Path) -> None:
    """The encoder makes a plain still of equal frames, with no place for it."""
    (frame, *_) = film(noisy=True)
    same = (Frame(frame.rgb, index, frame.invented) for index in range(3))
    path = write_video(same, tmp_path / "still.webp", provenance=KNOWN).path
    assert said_by_pillow(path)["DigitalSourceType"] == SOURCE_TYPE
    with Image.open(path) as image:
        assert image.size == HW[::-1]
        off = np.asarray(image.convert("RGB")) / 255 - frame.rgb.permute(1, 2, 0).numpy()
    assert np.abs(off).mean() < 0.2


def test_pillow_finds_it_in_an_animated_webp_and_in_every_frame_of_a_folder(tmp_path: Path) -> None:
    frames = write_video(film(), f"{tmp_path}/frames/", provenance=KNOWN).path
    for file in [written(tmp_path, "film.webp"), *sorted(frames.iterdir())]:
        said = said_by_pillow(file)
        assert (said["DigitalSourceType"], said["InventedShare"]) == (SOURCE_TYPE, "0.0300")
    with Image.open(tmp_path / "film.webp") as image:
        assert image.n_frames == 4
    assert "invented" in Image.open(frames / "frame_00000.png").text["comment"]


@pytest.mark.parametrize("name", ["film.mp4", "film.mov", "film.gif"])
def test_it_stands_where_the_format_has_a_place_for_it(tmp_path: Path, name: str) -> None:
    assert provenance_in(packet_in(written(tmp_path, name))) == COMPLETE


def test_a_gif_without_its_xmp_is_what_it_was(tmp_path: Path) -> None:
    """And a reader that skips block by block, as all do, comes out at the same place."""
    write_video(film(), tmp_path / "bare.gif")
    told, bare = written(tmp_path, "film.gif").read_bytes(), (tmp_path / "bare.gif").read_bytes()
    assert told.startswith(bare[:-1]) and [name for name, _ in gif_blocks(told)][-1] == "XMP DataXMP"


@pytest.mark.parametrize("name", ["film.webm", "film.mkv"])
def test_matroska_says_it_in_tags(tmp_path: Path, name: str) -> None:
    with av.open(str(written(tmp_path, name))) as container:
        tags = {key.upper(): text for key, text in container.metadata.items()}
    assert tags["DIGITALSOURCETYPE"] == SOURCE_TYPE and "invented" in tags["COMMENT"]
    assert json.loads(tags["KINEPHOTO"])["invented_share"] == 0.03
    assert Provenance.from_json(tags["KINEPHOTO"]) == COMPLETE


def test_no_checksum_vouches_for_what_is_filled_in_later(tmp_path: Path) -> None:
    """Tags, 1254C367, may begin with CRC-32, BF (RFC 9559, 5.1.8; RFC 8794, 11.3.1)."""
    data = written(tmp_path, "film.mkv").read_bytes()
    at = data.rindex(bytes.fromhex("1254c367")) + 4  # the first is in the index
    length = 9 - data[at].bit_length()
    assert data[at + length] != 0xBF


def test_an_mp4_has_a_comment_that_people_can_read(tmp_path: Path) -> None:
    with av.open(str(written(tmp_path, "film.mp4"))) as container:
        assert (
            container.metadata["comment"]
            == "Made with kinephoto from one photo; parts of what it shows are invented."
        )
    own = written(tmp_path, "own.mp4", metadata={"comment": "mine"})
    with av.open(str(own)) as container:
        assert container.metadata["comment"] == "mine"


@pytest.mark.parametrize("name", [*VIDEOS, *STILLS])
def test_read_provenance_reads_every_kind_back(tmp_path: Path, name: str) -> None:
    found = read_provenance(written(tmp_path, name))
    assert found.provenance == COMPLETE and found.verdict is None
    assert found.places == (("tags",) if name.endswith(("webm", "mkv")) else ("XMP",))


@pytest.mark.parametrize("name", [*VIDEOS, *STILLS, "frames/"])
def test_the_same_film_is_the_same_bytes(tmp_path: Path, name: str) -> None:
    contents = []
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        if name.endswith("/"):
            path = write_video(film(), f"{tmp_path}/{folder}/{name}", provenance=KNOWN).path
        else:
            path = written(tmp_path / folder, name)
        contents.append([file.read_bytes() for file in (sorted(path.iterdir()) if path.is_dir() else [path])])
    assert contents[0] == contents[1]


@pytest.mark.parametrize("name", ["film.mp4", "film.mov", "film.webm", "film.mkv", "film.gif"])
def test_pictures_are_untouched(tmp_path: Path, name: str) -> None:
    write_video(film(), tmp_path / f"bare{name}")
    bare, told = decoded(tmp_path / f"bare{name}"), decoded(written(tmp_path, name))
    assert len(told) == 4 and all(np.array_equal(a, b) for a, b in zip(bare, told, strict=True))


def test_what_a_generator_made_of_nothing_known_says_nothing(tmp_path: Path) -> None:
    path = write_video(film(), tmp_path / "film.mp4").path
    assert read_provenance(path).provenance is None and xmp_in(path) is None


def test_a_film_with_a_world_says_so_without_being_asked(tmp_path: Path, monkeypatch) -> None:
    class Worldly:
        world, fps = "a world", 12

        def __iter__(self) -> Iterator[Frame]:
            return film()

    monkeypatch.setattr("kinephoto.studio.video.provenance_of", lambda world: replace(KNOWN, painter=world))
    path = write_video(Worldly(), tmp_path / "film.mp4").path  # type: ignore[arg-type]
    assert read_provenance(path).provenance == replace(COMPLETE, painter="a world")


def test_boxes_of_every_length_are_walked(tmp_path: Path) -> None:
    packet = xmp_of(COMPLETE)
    start = struct.pack(">I4s", 16, b"ftyp") + b"isom\0\0\0\0"
    long = struct.pack(">I4sQ", 1, b"mdat", 16 + 300) + bytes(300)
    xmp = b"uuid" + bytes.fromhex(XMP_UUID) + packet
    path = tmp_path / "film.mp4"
    for length in (24 + len(packet), 0):
        path.write_bytes(start + long + struct.pack(">I", length) + xmp)
        assert xmp_in(path) == packet
    path.write_bytes(start + struct.pack(">I4s", 3, b"free"))
    assert xmp_in(path) is None


@pytest.mark.parametrize("name", ["film.mp4", "film.gif", "film.webp", "still.png", "still.jpg"])
def test_a_damaged_file_is_no_fault_of_ours(tmp_path: Path, name: str) -> None:
    """Cut anywhere, or with bytes changed, it says what it still says, or nothing."""
    whole = written(tmp_path, name).read_bytes()
    damaged = tmp_path / f"damaged{Path(name).suffix}"
    random = np.random.default_rng(1)
    for _ in range(60):
        data = bytearray(whole[: random.integers(0, len(whole))])
        for at in random.integers(0, max(1, len(data)), 3):
            data[at : at + 1] = random.bytes(1)
        damaged.write_bytes(data)
        packet = xmp_in(damaged)
        assert packet is None or isinstance(provenance_in(packet), Provenance | None)


# --- what is told of the user ---


def test_settings_tell_neither_folders_nor_the_machine() -> None:
    settings = AnimateSettings(
        depth="/anna/maps/depth.png",
        painter="sd:/anna/models/mine",
        path="moves\\walk.json",
        prompt="a cat / a dog",
        threads=3,
        offline=True,
        device="cuda",
    )
    public = public_settings(settings)
    assert (public["depth"], public["painter"], public["path"]) == ("depth.png", "sd:mine", "walk.json")
    assert public["prompt"] == "a cat / a dog"
    assert not {"threads", "offline", "device"} & set(public)
    assert without_folders("hub:stable-diffusion-v1-5/inpainting") == "hub:stable-diffusion-v1-5/inpainting"
    assert without_folders("sd:models/mine/") == "sd:mine"


def test_where_nobody_painted_no_algorithm_is_named() -> None:
    """As on a sheet that shows the holes before they are painted."""
    trajectory = SimpleNamespace(path=SimpleNamespace(name="swing"), rig=SimpleNamespace(amount=0.04))
    for painter, kind in (("none", "dataDrivenMedia"), ("classical", "compositeWithTrainedAlgorithmicMedia")):
        world = SimpleNamespace(trajectory=trajectory, painter=painter, depth_name="depth.png", seed=0)
        packet = xmp_of(provenance_of(world))  # type: ignore[arg-type]
        said = {name: text for (_, name), text in properties_of(packet).items()}
        assert said["DigitalSourceType"].endswith("/" + kind)
        assert ("AISystemUsed" in said) == (painter != "none")


@pytest.mark.parametrize("name", ["film.mp4", "still.png"])
def test_a_name_with_a_colon_is_no_protocol(tmp_path: Path, name: str, monkeypatch) -> None:
    written(tmp_path, name).rename(tmp_path / f"a:{name}")
    monkeypatch.chdir(tmp_path)
    assert read_provenance(f"a:{name}").provenance == COMPLETE


@pytest.mark.parametrize("name", ["wide.png", "wide.jpg", "wide.webp", "sheet.png"])
def test_a_continued_photo_keeps_its_focal_length_and_a_sheet_has_none(
    tmp_path: Path, name: str, monkeypatch
) -> None:
    block = Image.Exif()
    block.get_ifd(0x8769)[0xA405] = 77
    Image.new("RGB", (64, 48), "green").save(tmp_path / "tele.jpg", exif=block)
    focal_px = read_photo(tmp_path / "tele.jpg").camera.focal_px
    several = ("--candidates", "2", "--seed", "5") if name == "sheet.png" else ()
    words = ["outpaint", tmp_path / "tele.jpg", "--extend", "left=50%,right=32,top=24", "-o", tmp_path / name]
    monkeypatch.setattr("sys.argv", ["kinephoto", *map(str, words), "--painter", "classical", "-q", *several])
    with pytest.raises(SystemExit, match="^0$"):
        cli.main()
    again = read_photo(tmp_path / name)
    told = read_provenance(tmp_path / name).provenance
    assert told is not None and told.invented_most == pytest.approx(1 - 64 * 48 / (128 * 72), abs=1e-4)
    if several:
        assert again.capture.field_of_view == "assumed" and (told.seed, told.settings["candidates"]) == (5, 2)
        return
    assert again.camera.hw == (72, 128) and again.capture.field_of_view == "exif"
    # EXIF counts whole millimetres, of which it is some forty now.
    assert again.camera.focal_px == pytest.approx(focal_px, rel=0.5 / 40)


def test_sizes_in_digits_of_another_kind_are_refused() -> None:
    assert scene_hw("768×512") == (512, 768)
    for text in ("6²", "٦٤", "9" * 5000, "64x", "1_000"):
        with pytest.raises(InputError, match="it must be WIDTHxHEIGHT in px"):
            scene_hw(text)


def test_a_settings_file_of_a_windows_editor_is_read(tmp_path: Path) -> None:
    file = tmp_path / "move.json"
    file.write_text('{"path": "circle"}', encoding="utf-8-sig")
    assert read_settings(AnimateSettings, file) == {"path": "circle"}


def test_values_of_a_wrong_kind_are_no_provenance() -> None:
    good = json.loads(COMPLETE.as_json())
    assert Provenance.from_values(good) == COMPLETE
    for name, value in (
        ("seed", "7"),
        ("painter", 3),
        ("settings", []),
        ("invented_share", "x"),
        ("software", None),
    ):
        assert Provenance.from_values(good | {name: value}) is None
    for text in ("", "[]", "{", "[" * 100_000):
        assert Provenance.from_json(text) is None


# --- signed ---


@pytest.fixture(scope="module")
def signer() -> certificates.Signer:
    return development_signer()


SIGNED = ["film.mp4", "film.mov", "film.gif", "film.webp", *STILLS]


def reader_of(path: Path) -> Any:
    import c2pa

    return c2pa.Reader(path, context=c2pa.Context.from_dict({"verify": {"remote_manifest_fetch": False}}))


@pytest.mark.parametrize("name", SIGNED)
def test_c2pa_finds_a_valid_manifest_that_says_what_was_done(tmp_path: Path, name: str, signer: Any) -> None:
    path = written(tmp_path, name, signer=signer)
    with reader_of(path) as reader:
        assert reader.get_validation_state() == "Valid"
        manifest = reader.get_active_manifest()
    assert manifest["title"] == name and manifest["signature_info"]["common_name"] == LABEL
    assert "not a proof of identity" in LABEL
    data = {each["label"]: each["data"] for each in manifest["assertions"]}
    created, edited = data["c2pa.actions.v2"]["actions"]
    assert (created["action"], edited["action"]) == ("c2pa.created", "c2pa.edited")
    assert created["digitalSourceType"] == edited["digitalSourceType"] == SOURCE_TYPE
    assert data["org.kinephoto.invented"] == json.loads(COMPLETE.as_json())
    found = read_provenance(path)
    assert found.provenance == COMPLETE and found.places == ("XMP", "Content Credentials")
    assert found.verdict is not None and (found.verdict.state, found.verdict.problems) == ("valid", ())


def picture_data(path: Path) -> tuple[int, int]:
    """Where the bytes of the picture lie that fill most of the file."""
    data = path.read_bytes()
    if path.suffix in (".mp4", ".mov"):
        return next((begin, end) for kind, begin, end in boxes(data) if kind == "mdat")
    if path.suffix == ".png":
        begin = data.index(b"IDAT") + 4
        return begin, begin + struct.unpack(">I", data[begin - 8 : begin - 4])[0]
    if path.suffix == ".jpg":
        return data.rindex(b"\xff\xda") + 20, len(data) - 2
    if path.suffix == ".webp":
        begin = data.index(b"VP8 ") + 30
        return begin, begin + 40
    begin = next(begin for name, begin in gif_blocks(data) if name == "image")
    return begin + 1, begin + 200


@pytest.mark.parametrize("name", SIGNED)
@pytest.mark.parametrize("place", [0.1, 0.9])
def test_one_changed_bit_of_the_picture_breaks_the_signature(
    tmp_path: Path, name: str, place: float, signer: Any
) -> None:
    path = written(tmp_path, name, signer=signer)
    begin, end = picture_data(path)
    data = bytearray(path.read_bytes())
    data[begin + int(place * (end - begin))] ^= 1
    path.write_bytes(data)
    with reader_of(path) as reader:
        assert reader.get_validation_state() == "Invalid"
    verdict = verdict_on(path)
    assert verdict is not None and verdict.state == "broken"
    assert any("Hash.mismatch" in problem for problem in verdict.problems)


def test_changed_words_break_the_signature_too(tmp_path: Path, signer: Any) -> None:
    path = written(tmp_path, "film.mp4", signer=signer)
    path.write_bytes(path.read_bytes().replace(b">0.0300<", b">0.0000<"))
    found = read_provenance(path)
    assert found.provenance is not None and found.provenance.invented_share == 0.0
    assert found.verdict is not None and found.verdict.state == "broken"


def test_a_signed_film_still_plays_at_once(tmp_path: Path, signer: Any) -> None:
    """The manifest moves all pictures, so the index must have been mended; it still comes first."""
    write_video(film(), tmp_path / "bare.mp4")
    for name in ("film.mp4", "film.mov"):
        path = written(tmp_path, name, signer=signer)
        kinds = [kind for kind, _, _ in boxes(path.read_bytes())]
        assert kinds.index("moov") < kinds.index("mdat") and kinds.count("uuid") == 2
        bare = decoded(tmp_path / "bare.mp4")
        assert all(np.array_equal(a, b) for a, b in zip(decoded(path), bare, strict=True))
        assert provenance_in(packet_in(path)) == COMPLETE


def test_every_frame_of_a_folder_is_signed(tmp_path: Path, signer: Any) -> None:
    path = write_video(film(), f"{tmp_path}/frames/", provenance=KNOWN, signer=signer).path
    assert len(os.listdir(path)) == 4
    for file in path.iterdir():
        with reader_of(file) as reader:
            assert reader.get_validation_state() == "Valid"


def test_who_is_on_the_list_is_trusted(tmp_path: Path, signer: Any) -> None:
    chain = signer.chain_pem.decode().split("-----BEGIN")
    (tmp_path / "roots.pem").write_text("-----BEGIN" + chain[-1])
    path = written(tmp_path, "film.mp4", signer=signer)
    verdict = verdict_on(path, tmp_path / "roots.pem")
    assert verdict is not None and verdict.state == "trusted"
    (tmp_path / "others.pem").write_text(
        "-----BEGIN" + development_signer().chain_pem.decode().split("-----BEGIN")[-1]
    )
    other = verdict_on(path, tmp_path / "others.pem")
    assert other is not None and other.state == "valid"
    (tmp_path / "none.pem").write_text("nothing")
    for bad in ("none.pem", "gone.pem"):
        with pytest.raises(InputError, match=bad):
            verdict_on(path, tmp_path / bad)


def test_the_photo_is_named_with_its_own_credentials(
    tmp_path: Path, signer: Any, example_photo: Path
) -> None:
    """Whatever its suffix; one that C2PA cannot take apart is left out, so that it spoils nothing."""
    strange, wrong = tmp_path / "strange.jpg", tmp_path / "wrong.png"
    strange.write_bytes(b"\x89PNG no picture" * 9)
    wrong.write_bytes(example_photo.read_bytes())
    signed = written(tmp_path, "still.jpg", signer=signer)
    for photo, begun in ((signed, "c2pa.opened"), (wrong, "c2pa.opened"), (strange, "c2pa.created")):
        path = written(tmp_path, "film.mp4", signer=ready(signer, photo))
        with reader_of(path) as reader:
            assert reader.get_validation_state() == "Valid"
            store = json.loads(reader.json())
        verdict = verdict_on(path)
        assert verdict is not None and verdict.actions == (begun, "c2pa.edited")
        assert verdict.ingredients == ((photo.name,) if begun == "c2pa.opened" else ())
        assert len(store["manifests"]) == (2 if photo == signed else 1)


def test_what_cannot_hold_a_manifest_is_refused_before_the_work(tmp_path: Path, signer: Any) -> None:
    for name in ("film.webm", "film.mkv"):
        with pytest.raises(InputError, match="cannot hold Content Credentials; .mp4, .mov"):
            VideoSink(tmp_path / name, provenance=KNOWN, signer=signer)


def test_a_signature_that_fails_at_the_end_leaves_nothing(tmp_path: Path, signer: Any) -> None:
    broken = replace(signer, key_pem=development_signer().key_pem)
    for name in ("film.mp4", "still.png"):
        with pytest.raises(InputError, match="cannot sign"):
            written(tmp_path, name, signer=broken)
    assert os.listdir(tmp_path) == []


# --- whose certificate ---


def pem_files(folder: Path, key: Any, **how: Any) -> tuple[Path, Path]:
    """A root and a certificate for this key, in the user's own files."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    root_key = ec.generate_private_key(ec.SECP256R1())
    root = certificates._certificate("A root", root_key.public_key(), None, root_key)
    own = certificates._certificate("Anna", key.public_key(), root, root_key)
    password = how.get("password")
    lock = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    form = serialization.PrivateFormat.PKCS8
    if how.get("traditional"):
        form = serialization.PrivateFormat.TraditionalOpenSSL
    (folder / "cert.pem").write_bytes(certificates._pem([own, root]))
    (folder / "key.pem").write_bytes(key.private_bytes(serialization.Encoding.PEM, form, lock))
    return folder / "cert.pem", folder / "key.pem"


def key_of(kind: str) -> Any:
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    curves = {"es256": ec.SECP256R1(), "es384": ec.SECP384R1(), "es512": ec.SECP521R1(), "k1": ec.SECP256K1()}
    if kind in curves:
        return ec.generate_private_key(curves[kind])
    if kind == "ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    return rsa.generate_private_key(65537, {"ps256": 2048, "short": 1024}[kind])


@pytest.mark.parametrize("kind", ["es256", "es384", "es512", "ed25519", "ps256"])
def test_every_kind_of_key_that_c2pa_takes_signs(tmp_path: Path, kind: str) -> None:
    own = ready(signer_from(*pem_files(tmp_path, key_of(kind))))
    assert own.algorithm == kind
    verdict = verdict_on(written(tmp_path, "still.png", signer=own))
    assert verdict is not None and (verdict.state, verdict.signer) == ("valid", "Anna")


def test_a_key_in_the_older_form_will_do(tmp_path: Path) -> None:
    assert ready(signer_from(*pem_files(tmp_path, key_of("es256"), traditional=True))).algorithm == "es256"


def test_a_wrong_key_or_certificate_is_one_sentence(tmp_path: Path, monkeypatch) -> None:
    cert, key = pem_files(tmp_path, key_of("es256"))
    (tmp_path / "text.pem").write_text("hello")
    other = tmp_path / "other"
    other.mkdir()
    _, other_key = pem_files(other, key_of("es256"))
    for pair, says in (
        ((cert, other_key), "is not the key of the first certificate"),
        ((tmp_path / "text.pem", key), "holds no certificates"),
        ((cert, tmp_path / "text.pem"), "holds no private key"),
        ((tmp_path / "gone.pem", key), "gone.pem cannot be read"),
        ((cert, tmp_path), "cannot be read"),
    ):
        with pytest.raises(InputError, match=says) as told:
            signer_from(*pair)
        assert "\n" not in str(told.value) and str(told.value).endswith(".")
    for kind in ("k1", "short"):
        with pytest.raises(InputError, match="C2PA knows no signature for the key"):
            signer_from(*pem_files(tmp_path, key_of(kind)))
    with pytest.raises(InputError, match="locked by a passphrase"):
        signer_from(*pem_files(tmp_path, key_of("es256"), password=b"secret"))
    monkeypatch.setattr(certificates, "_DAYS", -1 / 24)
    with pytest.raises(InputError, match=f"expired on {_today()}"):
        signer_from(*pem_files(tmp_path, key_of("es256")))


def _today() -> str:
    """The day of an hour ago."""
    hour_ago = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(hours=1)
    return f"{hour_ago:%Y-%m-%d}"


def test_a_certificate_that_c2pa_does_not_take_is_refused_before_the_work(tmp_path: Path) -> None:
    key = key_of("es256")
    cert, key_file = pem_files(tmp_path, key)
    cert.write_bytes(certificates._pem([certificates._certificate("Self", key.public_key(), None, key)]))
    with pytest.raises(InputError, match="cert.pem cannot sign Content Credentials: .*"):
        ready(signer_from(cert, key_file))


def test_each_development_certificate_is_another(signer: Any) -> None:
    assert development_signer().key_pem != signer.key_pem


def test_without_the_extra_one_sentence_says_what_to_install(tmp_path: Path, monkeypatch) -> None:
    path = written(tmp_path, "film.mp4")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for call in (development_signer, lambda: signer_from("a", "b"), lambda: verdict_on(path)):
        with pytest.raises(InputError, match=r"pip install 'kinephoto\[provenance\]'"):
            call()
    found = read_provenance(path)
    assert found.provenance == COMPLETE and not found.looked


def test_a_file_that_c2pa_cannot_take_apart_is_not_called_broken(tmp_path: Path) -> None:
    path = written(tmp_path, "film.mp4")
    path.write_bytes(path.read_bytes()[:-40])
    assert verdict_on(path) is None
    (tmp_path / "empty.bin").write_bytes(b"")
    assert verdict_on(tmp_path / "empty.bin") is None


def test_a_cut_signed_file_is_called_broken(tmp_path: Path, signer: Any) -> None:
    path = written(tmp_path, "film.mp4", signer=signer)
    path.write_bytes(path.read_bytes()[:-40])
    verdict = verdict_on(path)
    assert verdict is not None and verdict.state == "broken" and verdict.problems


def test_the_source_type_is_iptcs() -> None:
    assert COMPOSITE == SOURCE_TYPE and content_credentials.ASSERTION == "org.kinephoto.invented"
