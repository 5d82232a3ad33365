"""Depth inside or beside a photo becomes disparity: near is large, turned like the photo, ratios kept if true."""

from __future__ import annotations

import base64
import io
import math
import re
import struct
import zlib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pillow_heif
import pytest
import torch
from PIL import Image, ImageOps
from PIL.PngImagePlugin import PngInfo

from kinephoto.errors import InputError
from kinephoto.scene.embedded import heic_disparity, represented, sibling_depth_path, upright, xmp_packets
from kinephoto.scene.photo import read_photo
from kinephoto.scene.values import Photo

GUID = b"0123456789ABCDEF0123456789ABCDEF"
NAMESPACES = (
    'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns:xmpNote="http://ns.adobe.com/xmp/note/" '
    'xmlns:GDepth="http://ns.google.com/photos/1.0/depthmap/"'
)


def stored_depth() -> np.ndarray:
    """[12, 18] uint8, every value another, from 0 at the top left to 215."""
    return np.arange(12 * 18, dtype=np.uint8).reshape(12, 18)


def picture(values: np.ndarray, kind: str = "PNG") -> str:
    """In base64, broken into lines as some writers do."""
    file = io.BytesIO()
    Image.fromarray(values).save(file, kind, quality=100)
    return base64.encodebytes(file.getvalue()).decode()


def packet(as_elements: bool = False, **properties: str) -> bytes:
    """XMP with the properties, named as GDepth_Near."""
    pairs = [(name.replace("_", ":"), value) for name, value in properties.items()]
    if as_elements:
        inner = "".join(f"<{name}>{value}</{name}>" for name, value in pairs)
        body = f"<rdf:Description {NAMESPACES}>{inner}</rdf:Description>"
    else:
        inner = " ".join(f'{name}="{value}"' for name, value in pairs)
        body = f"<rdf:Description {NAMESPACES} {inner}/>"
    return (
        f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        f"{body}</rdf:RDF></x:xmpmeta>"
    ).encode()


def wrapped(xmp: bytes) -> bytes:
    begin = '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'.encode()
    return begin + xmp + b" " * 50 + b'<?xpacket end="w"?>'


def segment(body: bytes) -> bytes:
    return b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body


def pieces(extended: bytes, guid: bytes = GUID, step: int = 150) -> list[bytes]:
    """The bodies of the APP1 segments that hold an extended packet."""
    head = b"http://ns.adobe.com/xmp/extension/\0" + guid
    return [
        head + struct.pack(">II", len(extended), place) + extended[place : place + step]
        for place in range(0, len(extended), step)
    ]


def jpeg(*bodies: bytes, wh: tuple[int, int] = (36, 24), orientation: int = 1, focal: int = 0) -> bytes:
    """A JPEG with these APP1 segments."""
    block = Image.Exif()
    block[0x0112] = orientation
    block.get_ifd(0x8769)[0xA405] = focal
    file = io.BytesIO()
    Image.new("RGB", wh, "green").save(file, "JPEG", exif=block)
    data = file.getvalue()
    return data[:2] + b"".join(segment(body) for body in bodies) + data[2:]


def standard(xmp: bytes) -> bytes:
    return b"http://ns.adobe.com/xap/1.0/\0" + wrapped(xmp)


def gdepth(values: np.ndarray | None = None, kind: str = "PNG", **properties: str) -> dict[str, str]:
    data = picture(stored_depth() if values is None else values, kind)
    found = {"GDepth_Format": "RangeInverse", "GDepth_Near": "0.5", "GDepth_Far": "10", "GDepth_Units": "m"}
    return found | {"GDepth_Mime": f"image/{kind.lower()}", "GDepth_Data": data} | properties


def read(data: bytes, **options: object) -> Photo:
    return read_photo(io.BytesIO(data), **options)


def disparity(data: bytes) -> np.ndarray:
    photo = read(data)
    assert photo.capture.embedded_disparity is not None, photo.capture.notes
    assert photo.capture.notes == ()
    assert photo.capture.embedded_disparity.dtype == torch.float32
    return photo.capture.embedded_disparity.numpy()


# GDepth.


@pytest.mark.parametrize("as_elements", [False, True])
@pytest.mark.parametrize("form", ["RangeInverse", "RangeLinear"])
def test_gdepth_is_turned_into_one_over_z(form: str, as_elements: bool) -> None:
    """By the other direction: distances are encoded as the specification says, and found again."""
    near, far = 0.5, 10.0
    z = np.linspace(near, far, 12 * 18).reshape(12, 18)
    share = (z - near) / (far - near)
    share = share if form == "RangeLinear" else share * far / z
    data = gdepth(np.rint(share * 65535).astype(np.uint16), GDepth_Format=form)
    photo = read(jpeg(standard(packet(as_elements, **data))))
    found = photo.capture.embedded_disparity.numpy()
    # A step of 16 bits is 1.5e-4 in z and 3e-5 in 1/z, half of it rounding, times 4 at the nearest.
    assert np.abs(found - 1 / z).max() < 4e-4
    assert photo.capture.embedded_metric
    assert found[0, 0] > found[-1, -1]  # near is large


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_gdepth_of_eight_bits(kind: str) -> None:
    grey = np.repeat(np.linspace(0, 240, 18).astype(np.uint8)[None], 12, axis=0)
    for values in (grey, np.repeat(grey[..., None], 3, axis=2)):
        found = disparity(jpeg(standard(packet(**gdepth(values, kind)))))
        expected = 2 - grey / 255 * (2 - 0.1)
        assert np.abs(found - expected).max() < (1e-5 if kind == "PNG" else 0.03)


def test_gdepth_in_the_extended_packet_is_found() -> None:
    main = packet(xmpNote_HasExtendedXMP=GUID.decode(), GDepth_Near="0.5", GDepth_Far="10")
    extended = packet(GDepth_Data=picture(stored_depth()))
    parts = pieces(extended)
    assert len(parts) > 2
    expected = 2 - stored_depth() / 255 * (2 - 0.1)
    for order in (parts, parts[::-1]):
        assert np.abs(disparity(jpeg(standard(main), *order)) - expected).max() < 1e-6
    # Of an older version of the file pieces may be left over; they are another packet's.
    stale = pieces(packet(GDepth_Data=picture(255 - stored_depth())), b"F" * 32)
    assert np.abs(disparity(jpeg(standard(main), *stale, *parts)) - expected).max() < 1e-6
    assert read(jpeg(standard(main), *stale)).capture.embedded_disparity is None


def test_gdepth_works_in_other_files_with_xmp() -> None:
    for kind in ("PNG", "WEBP", "TIFF"):
        file = io.BytesIO()
        xmp = wrapped(packet(**gdepth()))
        options = {}
        if kind == "PNG":
            options["pnginfo"] = PngInfo()
            options["pnginfo"].add_itxt("XML:com.adobe.xmp", xmp.decode())
        elif kind == "TIFF":
            options["tiffinfo"] = {700: xmp}
        else:
            options["xmp"] = xmp
        Image.new("RGB", (36, 24)).save(file, kind, **options)
        assert disparity(file.getvalue()).shape == (12, 18), kind


@pytest.mark.parametrize("orientation", range(1, 9))
def test_gdepth_is_turned_like_the_photo(orientation: int) -> None:
    photo = read(jpeg(standard(packet(**gdepth())), orientation=orientation))
    found = photo.capture.embedded_disparity.numpy()
    tagged = Image.fromarray(stored_depth())
    tagged.getexif()[0x0112] = orientation
    expected = np.asarray(ImageOps.exif_transpose(tagged))
    assert (found.shape[0] < found.shape[1]) == (photo.camera.hw[0] < photo.camera.hw[1])
    assert np.abs(found - (2 - expected / 255 * 1.9)).max() < 1e-6


def test_a_map_that_is_upright_already_is_not_turned_again() -> None:
    lying = jpeg(standard(packet(**gdepth(stored_depth().T.copy()))), orientation=6)
    assert np.abs(disparity(lying) - (2 - stored_depth().T / 255 * 1.9)).max() < 1e-6


def test_a_length_along_the_ray_becomes_a_distance_along_the_axis() -> None:
    """A wall at z = 2: its rays are the longer the farther from the middle, and its disparity is 1/2."""
    near, far, focal_mm, wh = 1.0, 5.0, 26, (180, 120)
    focal_px = focal_mm / 43.27 * math.hypot(*wh)
    x, y = np.meshgrid(np.arange(wh[0]) + 0.5 - 90, np.arange(wh[1]) + 0.5 - 60)
    length = 2 * np.sqrt(1 + (x / focal_px) ** 2 + (y / focal_px) ** 2)
    assert length.max() > 2.4
    share = np.rint((length - near) / (far - near) * 65535).astype(np.uint16)
    for orientation in (1, 6):
        data = gdepth(share, GDepth_Format="RangeLinear", GDepth_Near="1", GDepth_Far="5")
        data["GDepth_MeasureType"] = "OpticRay"
        found = disparity(jpeg(standard(packet(**data)), wh=wh, orientation=orientation, focal=focal_mm))
        assert np.abs(found - 0.5).max() < 1e-4


@pytest.mark.parametrize("near", ["0", "", "nan", "-1", "10"])
def test_without_a_near_and_a_far_that_mean_something_only_the_order_counts(near: str) -> None:
    photo = read(jpeg(standard(packet(**gdepth(GDepth_Near=near)))))
    assert not photo.capture.embedded_metric
    assert np.abs(photo.capture.embedded_disparity.numpy() - (1 - stored_depth() / 255)).max() < 1e-6


def test_of_kinephotos_own_maps_those_with_a_unit_are_metric() -> None:
    """It writes the near and far of a relative map as well; others write no unit, and mean lengths."""
    for software, units, metric in (("kinephoto", "", False), ("kinephoto", "m", True), ("Lens", "", True)):
        data = gdepth(GDepth_Software=software, GDepth_Units=units)
        photo = read(jpeg(standard(packet(**data))))
        assert photo.capture.embedded_metric == metric
        found = photo.capture.embedded_disparity.numpy()
        assert np.abs(found - (2 - stored_depth() / 255 * 1.9)).max() < 1e-6


def test_a_broken_depth_map_is_said_and_the_photo_read_all_the_same() -> None:
    whole = picture(stored_depth())
    png = base64.b64decode(whole)
    huge = png[:16] + struct.pack(">II", 50_000, 50_000) + png[24:29]
    huge += struct.pack(">I", zlib.crc32(huge[12:])) + png[33:]
    main = packet(xmpNote_HasExtendedXMP=GUID.decode())
    files = {
        "not base64": jpeg(standard(packet(**gdepth(GDepth_Data="#" * 40)))),
        "is damaged": jpeg(standard(packet(**gdepth(GDepth_Data=base64.b64encode(png[:-40]).decode())))),
        "picture is damaged": jpeg(standard(packet(**gdepth(GDepth_Data="QUJD")))),
        "50000×50000, more than a depth map has": jpeg(
            standard(packet(**gdepth(GDepth_Data=base64.b64encode(huge).decode())))
        ),
        "not well-formed": jpeg(standard(packet(**gdepth())[:-9])),
        r"has \d+ of \d+ bytes": jpeg(standard(main), *pieces(packet(GDepth_Data=whole))[:-1]),
    }
    for words, data in files.items():
        photo = read(data)
        assert photo.capture.embedded_disparity is None and photo.rgb.shape == (3, 24, 36)
        (note,) = photo.capture.notes
        assert re.search(f"the depth that comes with the photo could not be used: .*({words})", note), note


def test_xmp_without_depth_is_not_even_parsed() -> None:
    broken = standard(b"<x:xmpmeta><nonsense")
    photo = read(jpeg(broken))
    assert photo.capture.embedded_disparity is None and photo.capture.notes == ()


def test_depth_is_left_alone_if_nobody_wants_it() -> None:
    photo = read(jpeg(standard(packet(**gdepth()))), embedded_depth=False)
    assert photo.capture.embedded_disparity is None and not photo.capture.embedded_metric


def test_packets_without_extension_stay_as_they_are() -> None:
    assert xmp_packets(b"") == [] and xmp_packets(b"\0\0") == []
    assert xmp_packets(b"<a/>\0", [b"Exif\0\0MM"]) == [b"<a/>"]
    assert xmp_packets(b"<a/>", [b"http://ns.adobe.com/xmp/extension/\0short"]) == [b"<a/>"]


# HEIC.


def heic(depth: np.ndarray, orientation: int = 1, **information: float) -> bytes:
    """A HEIC with an auxiliary depth image, and its depth representation information if any is given.

    pillow-heif writes no depth, but it writes alpha, which is an auxiliary image as well: one byte of its
    type makes it depth. The information is an SEI message of HEVC, put behind the type.
    """
    rgba = np.full((*depth.shape, 4), 90, np.uint8)
    rgba[..., 3] = depth
    block = Image.Exif()
    block[0x0112] = orientation
    file = io.BytesIO()
    pillow_heif.from_pillow(Image.fromarray(rgba)).save(file, quality=-1, chroma=444, exif=block.tobytes())
    alpha, as_depth = b"urn:mpeg:hevc:2015:auxid:1\0", b"urn:mpeg:hevc:2015:auxid:2\0"
    data = file.getvalue()
    assert data.count(alpha) == 1
    data = data.replace(alpha, as_depth)
    return inserted(data, data.index(as_depth) + len(as_depth), sei(**information)) if information else data


def inserted(data: bytes, place: int, extra: bytes) -> bytes:
    """With bytes put into the middle of the boxes meta, iprp, ipco, auxC; offsets behind it move along."""
    result = bytearray(data)
    for name in (b"meta", b"iprp", b"ipco", b"auxC"):
        at = data.rindex(name, 0, place) - 4
        struct.pack_into(">I", result, at, struct.unpack_from(">I", data, at)[0] + len(extra))
    at = data.index(b"iloc") + 4
    assert data[at : at + 6] == b"\0\0\0\0\x44\x40"  # version 0, all numbers of 4 bytes
    (count,) = struct.unpack_from(">H", data, at + 6)
    at += 8
    for _ in range(count):
        (extents,) = struct.unpack_from(">H", data, at + 8)
        for extent in range(at + 10, at + 10 + 8 * extents, 8):
            (offset,) = struct.unpack_from(">I", data, extent)
            struct.pack_into(">I", result, extent, offset + len(extra))
        at += 10 + 8 * extents
    return bytes(result[:place]) + extra + bytes(result[place:])


def sei(representation_type: int, **values: float) -> bytes:
    """H.265's message 177, with its own floats: sign, 7 bits of exponent, length of the mantissa."""
    names = ("z_near", "z_far", "d_min", "d_max")
    bits = "".join(str(int(name in values)) for name in names) + golomb(representation_type)
    if {"d_min", "d_max"} & set(values):
        bits += golomb(0)  # the reference view
    for name in names:
        if name in values:
            mantissa, exponent = math.frexp(values[name])
            fraction = f"{round((2 * mantissa - 1) * (1 << 32)):032b}" if values[name] else "0" * 32
            power = exponent - 1 + 31 if values[name] else 0
            bits += f"{int(values[name] < 0)}{power:07b}{31:05b}{fraction}"
    bits += "1"
    bits += "0" * (-len(bits) % 8)
    payload = int(bits, 2).to_bytes(len(bits) // 8, "big")
    message = bytes([39 << 1, 1, 177, len(payload)]) + payload + b"\x80"
    unit = struct.pack(">I", len(message)) + message
    return struct.pack(">I", len(unit)) + unit


def golomb(number: int) -> str:
    code = f"{number + 1:b}"
    return "0" * (len(code) - 1) + code


def smooth() -> np.ndarray:
    """[64, 96] uint8, larger to the right and downwards, by another amount."""
    down, right = np.indices((64, 96))
    return (down + 2 * right).astype(np.uint8)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_depth_of_a_heic_is_turned_like_the_photo(orientation: int) -> None:
    photo = read(heic(smooth(), orientation))
    tagged = Image.fromarray(smooth())
    tagged.getexif()[0x0112] = orientation
    expected = np.asarray(ImageOps.exif_transpose(tagged)) / 255
    found = photo.capture.embedded_disparity.numpy()
    assert found.shape == photo.camera.hw
    assert np.abs(found - expected).max() < 1e-6  # it was encoded without loss
    assert not photo.capture.embedded_metric and photo.capture.notes == ()


def test_a_heic_with_disparity_and_its_range_is_metric() -> None:
    data = heic(smooth(), representation_type=1, d_min=0.25, d_max=3.125)
    photo = read(data)
    expected = 0.25 + smooth() / 255 * (3.125 - 0.25)
    assert np.abs(photo.capture.embedded_disparity.numpy() - expected).max() < 1e-5
    assert photo.capture.embedded_metric
    relative = read(data + b'<rdf:Description depthData:Accuracy="relative"/>')
    assert not relative.capture.embedded_metric
    assert not read(data + b"<depthData:Accuracy>relative</depthData:Accuracy>").capture.embedded_metric
    assert read(data + b'<rdf:Description depthData:Accuracy="absolute"/>').capture.embedded_metric


def test_a_heic_with_distances_in_equal_steps() -> None:
    photo = read(heic(smooth(), representation_type=2, z_near=0.5, z_far=8.0))
    expected = 1 / (0.5 + smooth() / 255 * 7.5)
    assert np.abs(photo.capture.embedded_disparity.numpy() - expected).max() < 1e-5
    assert photo.capture.embedded_metric


def test_every_representation_has_near_large() -> None:
    share = np.array([[0.0, 0.5, 1.0]])
    distances, disparities = {"z_near": 0.5, "z_far": 4.0}, {"d_min": 0.2, "d_max": 3.0}
    cases = [
        ({}, [0, 0.5, 1], False),
        ({"representation_type": 0, **distances}, [0.25, 1.125, 2], True),
        ({"representation_type": 0, **disparities}, [0.2, 1.6, 3], True),
        ({"representation_type": 0, **distances, **disparities}, [0.25, 1.125, 2], True),
        ({"representation_type": 1, **disparities}, [0.2, 1.6, 3], True),
        ({"representation_type": 1, **distances, **disparities}, [0.2, 1.6, 3], True),
        ({"representation_type": 1, "d_min": -0.2, "d_max": 3.0}, [0, 0.5, 1], False),
        ({"representation_type": 1, "d_min": 3.0, "d_max": 3.0}, [0, 0.5, 1], False),
        ({"representation_type": 2, **distances}, [2, 1 / 2.25, 0.25], True),
        ({"representation_type": 2}, [1, 0.5, 0], False),
        ({"representation_type": 3, **disparities}, [0, 0.5, 1], False),
    ]
    for metadata, expected, metric in cases:
        found, is_metric = represented(share, metadata)
        assert found[0] == pytest.approx(expected), metadata
        assert is_metric == metric, metadata


def fake_heif(depth: np.ndarray, photo_turns: object, depth_turns: object, wh: tuple[int, int]) -> object:
    """What pillow-heif gives, for the cases that it doesn't write."""

    class Image:
        def __init__(self, turns: object) -> None:
            self._c_image = SimpleNamespace() if turns is None else SimpleNamespace(transformations=turns)

    class Depth(Image):
        size, info = depth.shape[::-1], {"metadata": {}}

        def __array__(self, dtype: object = None, copy: object = None) -> np.ndarray:
            return depth

    class File(list):
        primary_index, size = 0, wh
        info = {"depth_images": [Depth(depth_turns)]}  # noqa: RUF012

    return File([Image(photo_turns)])


@pytest.mark.parametrize("orientation", range(1, 9))
def test_depth_that_was_stored_without_the_photos_rotation_gets_it(orientation: int) -> None:
    """The rotations are those that libheif reports for a photo of that orientation."""
    turns = pillow_heif.open_heif(heic(smooth(), orientation))[0]._c_image.transformations
    wh = (96, 64) if orientation < 5 else (64, 96)
    found = heic_disparity(fake_heif(smooth(), turns, (), wh)).numpy()
    assert np.abs(found - upright(smooth(), orientation) / 255).max() < 1e-6


def test_without_reported_rotations_the_shapes_tell() -> None:
    for orientation, wh in ((6, (64, 96)), (8, (64, 96)), (1, (96, 64)), (3, (96, 64))):
        found = heic_disparity(fake_heif(smooth(), None, None, wh), b"", orientation).numpy()
        assert found.shape == wh[::-1]
        if orientation >= 5:
            assert np.abs(found - upright(smooth(), orientation) / 255).max() < 1e-6


def test_sixteen_bits_of_a_heics_depth_are_used_and_nonsense_is_refused() -> None:
    deep = smooth().astype(np.uint16) * 257
    found = heic_disparity(fake_heif(deep, (), (), (96, 64))).numpy()
    assert np.abs(found - smooth() / 255).max() < 1e-6
    huge = np.broadcast_to(np.uint8(0), (50_000, 50_000))
    with pytest.raises(InputError, match="50000×50000, more than a depth map has"):
        heic_disparity(fake_heif(huge, (), (), (96, 64)))


def test_a_heic_whose_depth_is_damaged_is_still_a_photo() -> None:
    data = bytearray(heic(smooth()))
    # The depth image is the last thing in the file.
    data[-60:] = bytes(60)
    photo = read(bytes(data))
    assert photo.rgb.shape == (3, 64, 96)


def test_a_heic_without_depth_has_none() -> None:
    file = io.BytesIO()
    pillow_heif.from_pillow(Image.new("RGB", (96, 64))).save(file)
    assert heic_disparity(pillow_heif.open_heif(file.getvalue())) is None
    assert read(file.getvalue()).capture.embedded_disparity is None


# A file beside it, and turning.


def test_a_sibling_is_named_like_the_photo(tmp_path: Path) -> None:
    photo = tmp_path / "beach.jpg"
    assert sibling_depth_path(photo) is None
    for suffix in (".npy", ".webp", ".jpg", ".png"):  # each comes before those that were there
        sibling = tmp_path / f"beach_depth{suffix}"
        sibling.touch()
        assert sibling_depth_path(photo) == sibling == sibling_depth_path(str(photo))
    assert sibling_depth_path(tmp_path / "other.jpg") is None
    assert sibling_depth_path(tmp_path / ("x" * 250 + ".jpg")) is None


def test_a_sibling_is_used_before_what_is_in_the_file(tmp_path: Path) -> None:
    (tmp_path / "beach.jpg").write_bytes(jpeg(standard(packet(**gdepth()))))
    near = np.tile(np.linspace(0, 1, 36, dtype=np.float32), (24, 1))
    np.save(tmp_path / "beach_depth.npy", near)
    photo = read_photo(tmp_path / "beach.jpg")
    assert np.array_equal(photo.capture.embedded_disparity.numpy(), near)
    assert not photo.capture.embedded_metric
    assert read_photo(tmp_path / "beach.jpg", embedded_depth=False).capture.embedded_disparity is None


def test_a_sibling_that_is_no_depth_is_said(tmp_path: Path) -> None:
    (tmp_path / "beach.jpg").write_bytes(jpeg())
    (tmp_path / "beach_depth.png").write_bytes(b"nothing")
    photo = read_photo(tmp_path / "beach.jpg")
    assert photo.capture.embedded_disparity is None
    assert "beach_depth.png" in photo.capture.notes[0]


def test_upright_does_what_exif_says() -> None:
    for orientation in range(1, 9):
        tagged = Image.fromarray(stored_depth())
        tagged.getexif()[0x0112] = orientation
        expected = np.asarray(ImageOps.exif_transpose(tagged))
        assert np.array_equal(upright(stored_depth(), orientation), expected)
        colours = np.repeat(stored_depth()[..., None], 3, axis=2)
        assert np.array_equal(upright(colours, orientation)[..., 1], expected)
