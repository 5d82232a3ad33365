"""Whatever the file, the photo is upright, sRGB and float; what is no photo is refused in one sentence."""

from __future__ import annotations

import io
import math
import os
import struct
import threading
import zlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pillow_heif
import pytest
import torch
from PIL import Image, ImageCms, ImageFile, ImageOps, TiffImagePlugin

from kinephoto.errors import InputError
from kinephoto.scene.camera import Camera
from kinephoto.scene.photo import photo_from_array, read_alpha, read_photo, resized
from kinephoto.scene.values import Capture, Photo

WHITE, RED, GREY = (255, 255, 255), (255, 0, 0), (128, 128, 128)


def pattern(height: int = 24, width: int = 36) -> np.ndarray:
    """[H, W, 3] uint8, blocks of 6 px, every one of another colour."""
    colours = np.random.default_rng(1).integers(0, 256, (math.ceil(height / 6), math.ceil(width / 6), 3))
    return np.kron(colours, np.ones((6, 6, 1))).astype(np.uint8)[:height, :width]


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def read(data: bytes, **options: object) -> Photo:
    return read_photo(io.BytesIO(data), **options)


def values(photo: Photo) -> np.ndarray:
    """[H, W, 3] in 0 to 255."""
    return photo.rgb.permute(1, 2, 0).numpy() * 255


def png(array: np.ndarray, *chunks: tuple[bytes, bytes], wh: tuple[int, int] | None = None) -> bytes:
    """A PNG of [H, W, C] uint8 or uint16, C from 1 to 4, written by hand; ``wh`` is what its header claims."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    height, width, channels = array.shape
    rows = array.astype(array.dtype.newbyteorder(">"))
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    header = struct.pack(">IIBBBBB", *(wh or (width, height)), 8 * array.itemsize, kind, 0, 0, 0)
    data = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    middle = b"".join(chunk(name, content) for name, content in chunks)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + middle + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def exif(**values: object) -> Image.Exif:
    """EXIF with an orientation, a 35 mm focal length and the whole frame's size."""
    block = Image.Exif()
    if "orientation" in values:
        block[0x0112] = values["orientation"]
    tags = {"focal": 0xA405, "width": 0xA002, "height": 0xA003}
    lower = block.get_ifd(0x8769)
    lower.update({tags[name]: value for name, value in values.items() if name in tags})
    return block


# Colour profiles, written by hand.


def icc(space: bytes, tags: dict[bytes, bytes], kind: bytes = b"mntr", connection: bytes = b"XYZ ") -> bytes:
    offset = 132 + 12 * len(tags)
    table, body = struct.pack(">I", len(tags)), b""
    for name, data in tags.items():
        data += bytes(-len(data) % 4)
        table += struct.pack(">4sII", name, offset + len(body), len(data))
        body += data
    header = struct.pack(">I4sI4s4s4s", offset + len(body), b"lcms", 0x02400000, kind, space, connection)
    header += bytes(12) + b"acsp" + bytes(28) + struct.pack(">3i", 63190, 65536, 54061)
    return header.ljust(128, b"\0") + table + body


def fixed(*numbers: float) -> bytes:
    return struct.pack(f">{len(numbers)}i", *(round(number * 65536) for number in numbers))


DISPLAY_P3 = ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060))
SRGB = ((0.640, 0.330), (0.300, 0.600), (0.150, 0.060))
D65, D50 = np.array([0.95047, 1.0, 1.08883]), np.array([0.9642, 1.0, 0.8249])
BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
SRGB_CURVE = b"para\0\0\0\0\0\3\0\0" + fixed(2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)


def xyz_from_rgb(primaries: tuple[tuple[float, float], ...]) -> np.ndarray:
    """[3, 3], linear light under D65: the primaries' chromaticities, scaled so that they add up to white."""
    columns = np.array([[x / y, 1, (1 - x - y) / y] for x, y in primaries]).T
    return columns * np.linalg.solve(columns, D65)


def matrix_profile(primaries: tuple[tuple[float, float], ...], curve: bytes = SRGB_CURVE) -> bytes:
    adapt = np.linalg.inv(BRADFORD) @ np.diag(BRADFORD @ D50 / (BRADFORD @ D65)) @ BRADFORD
    colorants = adapt @ xyz_from_rgb(primaries)
    tags = {b"wtpt": b"XYZ \0\0\0\0" + fixed(*D50)}
    for index, letter in enumerate((b"r", b"g", b"b")):
        tags[letter + b"XYZ"] = b"XYZ \0\0\0\0" + fixed(*colorants[:, index])
        tags[letter + b"TRC"] = curve
    return icc(b"RGB ", tags)


def decode_srgb(x: np.ndarray) -> np.ndarray:
    return np.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4)


def encode_srgb(x: np.ndarray) -> np.ndarray:
    x = x.clip(0, 1)
    return np.where(x <= 0.0031308, 12.92 * x, 1.055 * x ** (1 / 2.4) - 0.055)


def srgb_from_p3(rgb: np.ndarray, decode: Callable[[np.ndarray], np.ndarray] = decode_srgb) -> np.ndarray:
    """[..., 3] in [0, 1], by way of light under D65, without any profile."""
    matrix = np.linalg.inv(xyz_from_rgb(SRGB)) @ xyz_from_rgb(DISPLAY_P3)
    return encode_srgb(decode(rgb) @ matrix.T)


# The conventions.


def test_convention_rgb_is_float_srgb_channels_first() -> None:
    photo = read(saved(Image.fromarray(pattern(24, 36)), "PNG"))
    assert photo.rgb.shape == (3, 24, 36) and photo.camera.hw == (24, 36)
    assert photo.rgb.dtype == torch.float32 and photo.rgb.is_contiguous()
    # Encoded as in the file: 128 is 128/255, not its linear 0.216.
    assert torch.equal(photo.rgb, torch.from_numpy(pattern(24, 36)).permute(2, 0, 1) / 255)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "HEIC", "PNG 16", "TIFF 16"])
def test_convention_photos_are_upright(kind: str, orientation: int) -> None:
    """The same as what Pillow's own function makes of it, and with a camera of that shape."""
    stored = Image.fromarray(pattern(48, 72))
    block = exif(orientation=orientation)
    tagged = stored.copy()
    tagged.info["exif"] = block.tobytes()
    tagged.getexif()[0x0112] = orientation
    expected = np.asarray(ImageOps.exif_transpose(tagged), np.float32)
    deep = np.asarray(stored).astype(np.uint16) * 257
    if kind == "HEIC":
        file = io.BytesIO()
        pillow_heif.from_pillow(stored).save(file, quality=95, exif=block.tobytes())
        data = file.getvalue()
    elif kind == "PNG 16":
        data = png(deep, (b"eXIf", block.tobytes().removeprefix(b"Exif\0\0")))
    elif kind == "TIFF 16":
        data = oriented_tiff(deep, orientation)
    else:
        options = {"tiffinfo": {274: orientation}} if kind == "TIFF" else {"exif": block}
        data = saved(stored, kind, quality=95, **options)
    photo = read(data)
    assert photo.camera.hw == expected.shape[:2]
    # JPEG and its kin blur the colours of blocks; another orientation would be off by 60 and more.
    assert np.abs(values(photo) - expected).mean() < 12


def oriented_tiff(deep: np.ndarray, orientation: int) -> bytes:
    """OpenCV writes 16 bits, Pillow the tag: it is put in place of the tag 'resolution unit'."""
    data = bytearray(cv2.imencode(".tiff", deep[..., ::-1])[1].tobytes())
    (directory,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, directory)
    entries = [data[directory + 2 + 12 * i : directory + 14 + 12 * i] for i in range(count)]
    entries = [entry for entry in entries if struct.unpack_from("<H", entry)[0] not in (274, 296)]
    entries.append(bytearray(struct.pack("<HHIHH", 274, 3, 1, orientation, 0)))
    entries.sort(key=lambda entry: struct.unpack_from("<H", entry)[0])
    body = struct.pack("<H", len(entries)) + b"".join(entries) + bytes(4)
    return bytes(data[:4]) + struct.pack("<I", len(data)) + bytes(data[8:]) + body


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF", "HEIC", "AVIF"])
def test_convention_profiles_become_srgb(kind: str) -> None:
    """A colour of Display P3 becomes what its light is in sRGB, computed without the profile."""
    colours = np.array([[180, 90, 60], [60, 150, 90], [90, 100, 200], [200, 200, 200]], np.uint8)
    stored = Image.fromarray(np.kron(colours.reshape(2, 2, 3), np.ones((32, 32, 1))).astype(np.uint8))
    profile = matrix_profile(DISPLAY_P3)
    if kind == "HEIC":
        file = io.BytesIO()
        pillow_heif.from_pillow(stored).save(file, quality=100, chroma=444, icc_profile=profile)
        data = file.getvalue()
    else:
        data = saved(stored, kind, quality=100, icc_profile=profile)
    found = values(read(data))[16::32, 16::32].reshape(4, 3)
    expected = srgb_from_p3(colours / 255) * 255
    assert np.abs(expected - colours).max() > 15  # the profile makes a difference
    # Half a step of rounding to 8 bits, another of the profile's own 16 bits; lossy formats two more.
    assert np.abs(found - expected).max() < (1.0 if kind in ("PNG", "TIFF") else 3.0)


def test_convention_the_longer_side_sees_55_degrees() -> None:
    for wh in ((72, 48), (48, 72)):
        photo = read(saved(Image.new("RGB", wh), "PNG"))
        angle = 2 * math.degrees(math.atan(36 / photo.camera.focal_px))
        assert angle == pytest.approx(55) and photo.capture.field_of_view == "assumed"
        assert photo.camera.centre_px == (wh[0] / 2, wh[1] / 2)


# Kinds of files and of pixels.

LOSSLESS = {
    "1": ["PNG", "TIFF", "BMP", "GIF"],
    "L": ["PNG", "TIFF", "BMP", "GIF", "JPEG2000", "PPM", "TGA"],
    "LA": ["PNG", "TIFF", "JPEG2000", "TGA"],
    "P": ["PNG", "TIFF", "BMP", "GIF", "TGA", "PCX"],
    "RGB": ["PNG", "TIFF", "BMP", "WEBP", "JPEG2000", "PPM", "TGA", "QOI", "SGI"],
    "RGBA": ["PNG", "TIFF", "BMP", "WEBP", "QOI"],
    "CMYK": ["TIFF"],
    "LAB": ["TIFF"],
}


@pytest.mark.parametrize(("mode", "kind"), [(mode, kind) for mode in LOSSLESS for kind in LOSSLESS[mode]])
def test_every_mode_of_every_format_gives_its_colours(mode: str, kind: str) -> None:
    source = Image.fromarray(pattern())
    if mode == "LAB":
        lab = ImageCms.createProfile("LAB")
        stored = ImageCms.profileToProfile(source, ImageCms.createProfile("sRGB"), lab, outputMode="LAB")
    else:
        stored = source.convert(mode)
    # Opaque so far; transparency has tests of its own.
    expected = np.asarray(source if mode in ("CMYK", "LAB") else stored.convert("RGB"), np.float32)
    options = {"lossless": True} if kind == "WEBP" else {}
    photo = read(saved(stored, kind, **options))
    error = np.abs(values(photo) - expected)
    # 8 bits of Lab are coarser than 8 bits of sRGB, most of all where colours are saturated.
    assert error.mean() < 1.5 if mode == "LAB" else error.max() < 1e-4
    assert photo.capture.notes == ()


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "AVIF", "HEIC"])
def test_lossy_formats_come_close(kind: str) -> None:
    stored = Image.fromarray(pattern(48, 72)).resize((72, 48), Image.Resampling.BICUBIC)
    smooth = Image.fromarray(cv2.GaussianBlur(np.asarray(stored), (0, 0), 4))
    if kind == "HEIC":
        file = io.BytesIO()
        pillow_heif.from_pillow(smooth).save(file, quality=95)
        data = file.getvalue()
    else:
        data = saved(smooth, kind, quality=95)
    assert np.abs(values(read(data)) - np.asarray(smooth)).mean() < 3
    if kind == "AVIF":  # which may call itself by its container's name first
        assert b"ftypavif" in data
        other = data.replace(b"ftypavif", b"ftypmif1")
        assert torch.equal(read(other).rgb, read(data).rgb)


def test_sixteen_bits_stay_sixteen() -> None:
    """Steps of 1/65535, far below the 1/255 of 8 bits, survive in each kind of file that has them."""
    deep = np.random.default_rng(0).integers(0, 65536, (24, 36, 3)).astype(np.uint16)
    grey, opaque = deep[..., :1], np.full((24, 36, 1), 65535, np.uint16)
    files = {
        "PNG RGB": (png(deep), deep),
        "PNG RGBA": (png(np.concatenate([deep, opaque], axis=2)), deep),
        "PNG grey": (png(grey), grey),
        "PNG grey and alpha": (png(np.concatenate([grey, opaque], axis=2)), grey),
        "TIFF RGB": (cv2.imencode(".tiff", deep[..., ::-1])[1].tobytes(), deep),
        "TIFF grey": (saved(Image.fromarray(grey[..., 0]), "TIFF"), grey),
        "TIFF grey, big-endian": (saved(Image.fromarray(grey[..., 0].astype(">u2")), "TIFF"), grey),
        "PPM": (b"P5 36 24 65535\n" + grey.astype(">u2").tobytes(), grey),
    }
    for name, (data, expected) in files.items():
        found = values(read(data)) / 255 * 65535
        # float32 holds 24 bits, so that a step of 16 is exact to 1/256 of it.
        assert np.abs(found - expected).max() < 0.02, name


def test_ten_bits_of_a_heic_are_more_than_eight() -> None:
    ramp = np.tile(np.linspace(20000, 24000, 256).astype(np.uint16)[None, :, None], (64, 1, 3))
    file = io.BytesIO()
    heif = pillow_heif.from_bytes(mode="RGB;16", size=(256, 64), data=ramp.tobytes())
    heif.save(file, quality=100, chroma=444)
    white = io.BytesIO()
    data = np.full((64, 64, 3), 65535, np.uint16).tobytes()
    pillow_heif.from_bytes(mode="RGB;16", size=(64, 64), data=data).save(white, quality=-1, chroma=444)
    assert float(read(white.getvalue()).rgb.mean()) == pytest.approx(1, abs=1e-4)
    found = values(read(file.getvalue()))[32, :, 0]
    assert len(np.unique(found)) > 40  # 8 bits would have 16 levels here
    assert np.abs(found / 255 - ramp[0, :, 0] / 65535).max() < 2 / 1023


def test_float_tiff_is_taken_as_it_is_and_must_be_a_photo(tmp_path: Path) -> None:
    grey = np.random.default_rng(0).random((24, 36)).astype(np.float32)
    assert np.array_equal(read(saved(Image.fromarray(grey), "TIFF")).rgb[1].numpy(), grey)
    for bad, words in ((np.nan, "holds 1 values that are not finite"), (7.5, r"from .* to 7\.5; floats")):
        grey[3, 4] = bad
        with pytest.raises(InputError, match=words):
            read(saved(Image.fromarray(grey), "TIFF"))


def tiff(planes: np.ndarray, photometric: int) -> bytes:
    """A TIFF of [C, H, W] whose planes lie apart, one strip each; its photometric is 0: white, 1: black, 2: RGB."""
    count, height, width = planes.shape
    kind = 3 if planes.dtype.kind == "f" else 1
    values = {
        256: (4, [width]),
        257: (4, [height]),
        258: (3, [8 * planes.itemsize] * count),
        259: (3, [1]),
        262: (3, [photometric]),
        273: (4, [8 + plane * planes[0].nbytes for plane in range(count)]),
        277: (3, [count]),
        278: (4, [height]),
        279: (4, [planes[0].nbytes] * count),
        284: (3, [2 if count > 1 else 1]),
        339: (3, [kind] * count),
    }
    place = 8 + planes.nbytes
    table, beyond, behind = struct.pack("<H", len(values)), b"", place + 6 + 12 * len(values)
    for tag, (form, numbers) in values.items():
        packed = struct.pack(f"<{len(numbers)}{'H' if form == 3 else 'I'}", *numbers)
        if len(packed) > 4:
            packed, beyond = struct.pack("<I", behind + len(beyond)), beyond + packed
        table += struct.pack("<HHI", tag, form, len(numbers)) + packed.ljust(4, b"\0")
    return struct.pack("<2sHI", b"II", 42, place) + planes.tobytes() + table + bytes(4) + beyond


def test_colours_that_lie_apart_are_read_right_or_refused() -> None:
    planes = np.random.default_rng(0).integers(0, 65536, (4, 24, 36)).astype(np.uint16)
    eight = (planes >> 8).astype(np.uint8)
    assert np.array_equal(values(read(tiff(eight[:3], 2))).round(), eight[:3].transpose(1, 2, 0))
    for count in (3, 4):
        with pytest.raises(
            InputError, match=r"a TIFF of 16 bits whose colours lie apart \(planar\); save it"
        ):
            read(tiff(planes[:count], 2))


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.float32])
def test_a_grey_tiff_whose_zero_is_white_is_no_negative(kind: type, monkeypatch: pytest.MonkeyPatch) -> None:
    grey = np.random.default_rng(0).integers(0, 256, (1, 24, 36))
    unit, peak = {np.uint8: (1, 255), np.uint16: (257, 65535), np.float32: (1 / 255, 1)}[kind]
    black, white = (
        tiff(stored.astype(kind), which) for which, stored in ((1, grey * unit), (0, peak - grey * unit))
    )
    for limit in (Image.MAX_IMAGE_PIXELS, 500):  # beyond it, OpenCV reads instead of Pillow
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        if limit != 500 or kind is not np.float32:  # which OpenCV doesn't read for us
            for data in (black, white):
                assert np.abs(values(read(data))[..., 1] - grey[0]).max() < 1e-4


def test_whole_numbers_beyond_16_bits_are_no_photo() -> None:
    with pytest.raises(InputError, match="from 0 to 70000; a photo has 8 or 16 bits"):
        read(saved(Image.fromarray(np.tile(np.array([0, 70000], np.int32), (20, 10))), "TIFF"))


def test_cmyk_jpegs_are_inverted_as_adobe_writes_them() -> None:
    ink = Image.new("CMYK", (32, 32), (255, 0, 0, 0))
    data = saved(ink, "JPEG", quality=100)
    assert b"Adobe" in data  # Pillow, too, stores 255 minus ink and says so
    assert np.abs(values(read(data))[16, 16] - (0, 255, 255)).max() < 3


def test_cmyk_goes_through_its_profile() -> None:
    """A made-up press whose only dark ink is black: the cyan that it prints is a light grey."""
    nodes = np.array([[255 - 55 * (c or m or y) - 200 * k] for c, m, y, k in np.ndindex(2, 2, 2, 2)]).clip(0)
    lab = np.concatenate([nodes, np.full_like(nodes, 128), np.full_like(nodes, 128)], axis=1).astype(np.uint8)
    ramp = bytes(range(256))
    table = b"mft1\0\0\0\0" + bytes([4, 3, 2, 0]) + fixed(1, 0, 0, 0, 1, 0, 0, 0, 1)
    table += ramp * 4 + lab.tobytes() + ramp * 3
    # Its paper is greyish; paper is to become white all the same.
    paper = b"XYZ \0\0\0\0" + fixed(0.80, 0.83, 0.68)
    profile = icc(b"CMYK", {b"A2B0": table, b"wtpt": paper}, b"prtr", b"Lab ")
    photo = read(saved(Image.new("CMYK", (32, 32), (255, 0, 0, 0)), "TIFF", icc_profile=profile))
    # L* of 200/255 is a light grey: Y = ((L + 16) / 116)^3, then encoded.
    lightness = 100 * 200 / 255
    expected = encode_srgb(np.array(((lightness + 16) / 116) ** 3)) * 255
    # The press's black is black (L* 0), so nothing is stretched; 2 steps for rounding.
    assert np.abs(values(photo)[16, 16] - expected).max() < 2


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP", "AVIF", "HEIC", "PNG 16"])
def test_alpha_is_laid_on_white(kind: str) -> None:
    rgba = np.zeros((64, 64, 4), np.uint8)
    rgba[..., 0] = 255
    rgba[:32, :, 3], rgba[32:, :, 3] = 0, 128
    if kind == "HEIC":
        file = io.BytesIO()
        pillow_heif.from_pillow(Image.fromarray(rgba)).save(file, quality=100)
        data = file.getvalue()
    elif kind == "PNG 16":
        data = png(rgba.astype(np.uint16) * 257)
    else:
        data = saved(Image.fromarray(rgba), kind, quality=100)
    found = values(read(data))
    tolerance = 3 if kind in ("AVIF", "HEIC", "WEBP") else 1
    assert np.abs(found[16, 32] - WHITE).max() <= tolerance
    assert np.abs(found[48, 32] - (255, 127, 127)).max() <= tolerance


@pytest.mark.parametrize("deep", [False, True])
def test_the_alpha_of_a_heic_is_read_and_turned(tmp_path: Path, deep: bool) -> None:
    rgba = np.full((64, 96, 4), 255, np.uint8)
    rgba[:32, :, 3], rgba[32:, 48:, 3] = 0, 128
    block, file = exif(orientation=6).tobytes(), tmp_path / "cat.heic"
    for mode, stored in (("RGBA", rgba), ("RGB", rgba[..., :3])):
        stored = stored.astype(np.uint16) * 257 if deep else stored
        heif = pillow_heif.from_bytes(f"{mode};16" if deep else mode, (96, 64), stored.tobytes())
        heif.save(file, quality=-1, chroma=444, exif=block)
        found = read_alpha(file)
        if mode == "RGB":
            assert found is None
            continue
        assert found is not None and found.dtype == torch.float32
        assert found.shape == read_photo(file).rgb.shape[1:] == (96, 64)
        assert np.abs(found.numpy() - np.rot90(rgba[..., 3], -1) / 255).max() < 0.01
        with pytest.raises(InputError, match="the limit .* is 0.001"):
            read_alpha(file, max_megapixels=0.001)
    file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(InputError, match="cat.heic is"):
        read_alpha(file)


def test_transparent_colours_of_palettes_and_keys_are_white() -> None:
    indices = np.zeros((20, 30), np.uint8)
    indices[:10] = 1
    palette = Image.fromarray(indices)
    palette = palette.convert("P")
    palette.putpalette([*RED, *GREY])
    deep = np.full((20, 30, 3), 40000, np.uint16)
    deep[:10] = 5
    files = [
        saved(palette, "PNG", transparency=bytes([255, 0])),
        saved(palette, "PNG", transparency=1),
        saved(palette, "GIF", transparency=1),
        png(deep, (b"tRNS", struct.pack(">3H", 5, 5, 5))),
        png(deep[..., :1], (b"tRNS", struct.pack(">H", 5))),
        png(deep[..., :1].astype(np.uint8), (b"tRNS", struct.pack(">H", 5))),
    ]
    for data in files:
        found = values(read(data))
        assert found[2, 2] == pytest.approx(WHITE)
        assert found[15, 2] != pytest.approx(WHITE)


@pytest.mark.parametrize(("mode", "unit"), [("RGBa", 1), ("RGBa;16", 257)])
def test_premultiplied_alpha_is_not_darkened_twice(mode: str, unit: int) -> None:
    rgba = np.full((64, 64, 4), (128, 0, 0, 128), np.uint8 if unit == 1 else np.uint16) * unit
    file = io.BytesIO()
    heif = pillow_heif.from_bytes(mode=mode, size=(64, 64), data=rgba.astype(rgba.dtype).tobytes())
    heif.save(file, quality=100)
    assert np.abs(values(read(file.getvalue()))[32, 32] - (255, 127, 127)).max() <= 4


# Colour profiles.


def test_a_profile_that_is_srgb_changes_no_bit() -> None:
    own = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for profile in (own, matrix_profile(SRGB)):
        # A grey picture may bring a profile for RGB.
        for array in (pattern(), np.repeat(pattern()[..., :1], 3, axis=2)):
            stored = Image.fromarray(array)
            image = stored.convert("L") if (array == array[..., :1]).all() else stored
            photo = read(saved(image, "PNG", icc_profile=profile))
            assert np.array_equal(values(photo).round(), array) and photo.capture.notes == ()
        deep = np.random.default_rng(0).integers(0, 65536, (24, 36, 3)).astype(np.uint16)
        photo = read(png(deep, (b"iCCP", b"profile\0\0" + zlib.compress(profile))))
        assert np.array_equal((values(photo) / 255 * 65535).round(), deep)


def parametric(kind: int, *numbers: float) -> bytes:
    return b"para\0\0\0\0" + struct.pack(">HH", kind, 0) + fixed(*numbers)


TABLE = np.rint(np.linspace(0, 1, 1024) ** 1.8 * 65535).astype(">u2").tobytes()
A = 0.98**0.5 / 0.95
CURVES: dict[str, tuple[bytes, Callable[[np.ndarray], np.ndarray]]] = {
    "sRGB": (SRGB_CURVE, decode_srgb),
    "gamma": (b"curv\0\0\0\0\0\0\0\1" + struct.pack(">H", 461), lambda x: x ** (461 / 256)),
    "linear": (b"curv\0\0\0\0\0\0\0\0", lambda x: x),
    "table": (b"curv\0\0\0\0" + struct.pack(">I", 1024) + TABLE, lambda x: x**1.8),
    "formula 0": (parametric(0, 1.8), lambda x: x**1.8),
    "formula 1": (parametric(1, 2, 1 / 0.95, -0.05 / 0.95), lambda x: ((x - 0.05).clip(0) / 0.95) ** 2),
    "formula 2": (parametric(2, 2, A, -0.05 * A, 0.02), lambda x: (A * (x - 0.05).clip(0)) ** 2 + 0.02),
}


@pytest.mark.parametrize("curve", CURVES)
def test_a_profile_on_sixteen_bits_is_applied_in_sixteen(curve: str) -> None:
    tag, decode = CURVES[curve]
    deep = np.random.default_rng(0).integers(3000, 65536, (24, 36, 3)).astype(np.uint16)
    profile = matrix_profile(DISPLAY_P3, tag)
    data = png(deep, (b"iCCP", b"profile\0\0" + zlib.compress(profile)))
    found = read(data).rgb.permute(1, 2, 0).numpy()
    expected = srgb_from_p3(deep / 65535, decode)
    # 8 bits would be off by 1e-3 in the mean; the colorants' 16 bits matter near black, where sRGB is steep.
    error = np.abs(found - expected)
    assert error.mean() < 5e-5 and error.max() < 2e-3
    if decode(np.zeros(1)) > 0:
        return  # LittleCMS would make such a black black
    eight = read(saved(Image.fromarray((deep >> 8).astype(np.uint8)), "PNG", icc_profile=profile))
    assert np.abs(eight.rgb.permute(1, 2, 0).numpy() - found).mean() < 1.5 / 255  # LittleCMS agrees


def test_grey_profiles_are_applied_to_grey_in_eight_and_sixteen_bits() -> None:
    curve = b"curv\0\0\0\0\0\0\0\1" + struct.pack(">H", 461)
    profile = icc(b"GRAY", {b"kTRC": curve, b"wtpt": b"XYZ \0\0\0\0" + fixed(*D50)})
    ramp = np.tile(np.linspace(0, 65535, 64).astype(np.uint16)[None, :, None], (20, 1, 1))
    chunk = (b"iCCP", b"profile\0\0" + zlib.compress(profile))
    expected = encode_srgb((ramp[0, :, 0] / 65535) ** (461 / 256))
    assert np.abs(read(png(ramp, chunk)).rgb[2, 5].numpy() - expected).max() < 1e-5
    eight = read(png((ramp >> 8).astype(np.uint8), chunk)).rgb[2, 5].numpy()
    expected = encode_srgb(((ramp[0, :, 0] >> 8) / 255) ** (461 / 256))
    assert np.abs(eight - expected).max() < 2 / 255  # LittleCMS takes short cuts for 8 bits of grey


def test_a_broken_profile_is_ignored_and_said() -> None:
    grey = icc(b"GRAY", {b"kTRC": b"curv\0\0\0\0\0\0\0\0"})
    short = matrix_profile(DISPLAY_P3)[:200]
    for profile in (b"no profile at all", grey, short):
        for data in (
            saved(Image.fromarray(pattern()), "TIFF", icc_profile=profile),
            png(pattern().astype(np.uint16) * 257, (b"iCCP", b"profile\0\0" + zlib.compress(profile))),
        ):
            photo = read(data)
            assert np.array_equal(values(photo).round(), pattern())
            assert len(photo.capture.notes) == 1 and "colour profile" in photo.capture.notes[0]


def test_hdr_is_read_and_said() -> None:
    file = io.BytesIO()
    image = pillow_heif.from_pillow(Image.fromarray(pattern(64, 64)))
    image.save(file, quality=90, transfer_characteristics=16, color_primaries=9, matrix_coefficients=9)
    assert "HDR picture (PQ)" in read(file.getvalue()).capture.notes[0]


# Several frames.


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "AVIF", "TIFF"])
def test_of_several_frames_the_first_is_used_and_said(kind: str) -> None:
    first, *others = (Image.new("RGB", (40, 30), colour) for colour in (RED, GREY, WHITE))
    photo = read(saved(first, kind, save_all=True, append_images=others))
    assert np.abs(values(photo)[15, 20] - RED).max() < 4
    pages = {"TIFF": "TIFF with 3 pages: the first is used"}
    name = "WebP" if kind == "WEBP" else kind
    assert photo.capture.notes == (pages.get(kind, f"animated {name}: the first of 3 frames is used"),)


def test_of_several_pictures_in_a_heic_the_main_one_is_used() -> None:
    heif = pillow_heif.HeifFile()
    for colour in (RED, GREY):
        heif.add_from_pillow(Image.new("RGB", (64, 64), colour))
    file = io.BytesIO()
    heif.save(file, quality=95, primary_index=1)
    photo = read(file.getvalue())
    assert np.abs(values(photo)[32, 32] - GREY).max() < 4
    assert photo.capture.notes == ("HEIC with 2 pictures: the main one is used",)


# The camera.


def focal(photo: Photo) -> float:
    assert photo.capture.field_of_view == "exif"
    return photo.camera.focal_px


def test_the_35_mm_equivalent_is_one_of_the_diagonal() -> None:
    """A lens as long as the diagonal of 36 × 24 mm sees 53.13° across it, in any shape of picture."""
    for wh in ((72, 48), (48, 72), (60, 60), (80, 60)):
        photo = read(saved(Image.new("RGB", wh), "JPEG", exif=exif(focal=26)))
        assert focal(photo) == pytest.approx(26 / 43.27 * math.hypot(*wh))
    full_frame = read(saved(Image.new("RGB", (720, 480)), "JPEG", exif=exif(focal=50)))
    assert 720 / full_frame.camera.focal_px == pytest.approx(36 / 50, rel=1e-3)


def test_turning_a_photo_keeps_its_focal_length() -> None:
    for orientation in (1, 6):
        block = exif(focal=26, orientation=orientation, width=72, height=48)
        data = saved(Image.new("RGB", (72, 48)), "JPEG", exif=block)
        assert focal(read(data)) == pytest.approx(26 / 43.27 * math.hypot(72, 48))


def test_a_heic_knows_its_focal_length() -> None:
    file = io.BytesIO()
    pillow_heif.from_pillow(Image.new("RGB", (96, 64))).save(
        file, exif=exif(focal=26, orientation=6).tobytes()
    )
    photo = read(file.getvalue())
    assert photo.camera.hw == (96, 64)
    assert focal(photo) == pytest.approx(26 / 43.27 * math.hypot(96, 64))


def test_cropping_a_photo_narrows_the_view() -> None:
    """A square out of 800 × 600: the frame's diagonal, not the square's, belongs to the focal length."""
    block = exif(focal=26, width=800, height=600)
    for side, frame_diagonal in ((600, 1000), (300, 500)):  # the second one made smaller afterwards
        data = saved(Image.new("RGB", (side, side)), "JPEG", exif=block)
        assert focal(read(data)) == pytest.approx(26 / 43.27 * frame_diagonal)
    # A strip upright in a frame that is stored lying and turned.
    block = exif(focal=26, width=800, height=600, orientation=6)
    data = saved(Image.new("RGB", (800, 300)), "JPEG", exif=block)
    assert focal(read(data)) == pytest.approx(26 / 43.27 * 1000)


def test_scaling_or_turning_by_other_programs_is_no_crop() -> None:
    for wh in ((400, 300), (300, 400)):
        data = saved(Image.new("RGB", wh), "JPEG", exif=exif(focal=26, width=800, height=600))
        assert focal(read(data)) == pytest.approx(26 / 43.27 * 500)
    nonsense = exif(focal=26, width=1, height=0)
    assert focal(read(saved(Image.new("RGB", (80, 60)), "JPEG", exif=nonsense))) == pytest.approx(
        26 / 43.27 * 100
    )


@pytest.mark.parametrize("value", [0, 1, 65535, "", "26 mm", TiffImagePlugin.IFDRational(0, 0)])
def test_a_focal_length_of_nonsense_is_none(value: object) -> None:
    block = exif(focal=value)
    photo = read(saved(Image.new("RGB", (72, 48)), "JPEG", exif=block))
    assert photo.capture.field_of_view == "assumed"
    assert photo.camera == Camera.from_field_of_view((48, 72))


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow says that EXIF is broken
def test_broken_exif_does_not_hide_the_photo() -> None:
    whole = exif(orientation=6, focal=26).tobytes()
    for block in (b"Exif\0\0nonsense", whole[:-30], b"Exif\0\0MM\0*\xff\xff\xff\xff"):
        file = io.BytesIO()
        pillow_heif.from_pillow(Image.new("RGB", (72, 64))).save(file, exif=block)
        for data in (saved(Image.new("RGB", (72, 64)), "JPEG", exif=block), file.getvalue()):
            assert read(data).rgb.shape[0] == 3


# Where it comes from.


def test_the_name_is_the_files_name(tmp_path: Path) -> None:
    path = tmp_path / "beach.png"
    path.write_bytes(saved(Image.fromarray(pattern()), "PNG"))
    assert read_photo(path).capture.name == "beach.png"
    assert read_photo(str(path)).capture.name == "beach.png"
    with path.open("rb") as file:
        assert read_photo(file).capture.name == "beach.png"


def test_bytes_are_read_as_their_file_is(tmp_path: Path) -> None:
    data = saved(Image.fromarray(pattern()), "PNG")
    assert torch.equal(read_photo(data).rgb, read(data).rgb)
    assert read_photo(data).capture.name == "the picture"
    with pytest.raises(InputError, match="the picture is empty"):
        read_photo(b"")


@pytest.mark.parametrize("source", [pattern(), Image.fromarray(pattern()), None, 3])
def test_what_is_no_file_is_sent_to_photo_from_array(source: object) -> None:
    with pytest.raises(InputError, match=r"A photo is read from a file, .*, not from .*photo_from_array"):
        read_photo(source)
    with pytest.raises(InputError, match="max_megapixels is '9'; it must be a number above 0"):
        read_photo("beach.jpg", max_megapixels="9")


def test_a_stream_that_cannot_go_back_is_read_as_well(tmp_path: Path) -> None:
    data = saved(Image.fromarray(pattern()), "PNG")
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as stream:
        with os.fdopen(writing, "wb") as other:
            other.write(data)
        photo = read_photo(stream)
    assert photo.capture.name == "standard input" and photo.rgb.shape == (3, 24, 36)
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=(tmp_path / "pipe").write_bytes, args=(data,))
    writer.start()
    assert read_photo(tmp_path / "pipe").rgb.shape == (3, 24, 36)
    writer.join()


def test_reading_at_once_in_several_threads_gives_the_same() -> None:
    files = [
        saved(Image.fromarray(pattern()), kind, lossless=True) for kind in ("PNG", "TIFF", "WEBP", "BMP")
    ]
    found: list[Photo] = []
    threads = [
        threading.Thread(target=lambda data=data: found.append(read(data)))
        for data in files
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 16 and all(torch.equal(photo.rgb, found[0].rgb) for photo in found)


# What is refused.


def test_what_is_no_photo_is_refused_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "letter.jpg").write_text("Dear reader, this is no picture, however long you look at it.")
    (tmp_path / "short.jpg").write_bytes(b"\xff")
    (tmp_path / "film.mp4").write_bytes(b"\0\0\0\x20ftypisom" + bytes(200))
    (tmp_path / "drawing.eps").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 90 90\nshowpage\n")
    said = {
        "none.jpg": "none.jpg does not exist; name a photo that is there.",
        "folder.jpg": "folder.jpg is a folder; name one photo in it.",
        "empty.jpg": "empty.jpg is empty; it must be a picture.",
        "letter.jpg": "letter.jpg is not a picture kinephoto can read; it reads JPEG, PNG",
        "short.jpg": "short.jpg is not a picture",
        "film.mp4": "film.mp4 is not a picture",
        "drawing.eps": "drawing.eps is not a picture",
        "empty.jpg/photo.jpg": "photo.jpg cannot be read: Not a directory",
        "x" * 300 + ".jpg": "cannot be read: File name too long",
        "a\0b.jpg": "cannot be read: embedded null byte",
    }
    for name, words in said.items():
        with pytest.raises(InputError, match=words) as caught:
            read_photo(tmp_path / name)
        assert str(caught.value).endswith(".") and "\n" not in str(caught.value)
    with pytest.raises(InputError, match="standard input is empty"):
        read(b"")
    with pytest.raises(InputError, match="gives str; a photo must come from a binary stream"):
        read_photo(io.StringIO("text"))


def test_a_file_that_may_not_be_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "secret.png"
    path.write_bytes(saved(Image.fromarray(pattern()), "PNG"))
    path.chmod(0)
    root = os.geteuid() == 0  # whom no file stops
    if root:
        os.seteuid(65534)
    try:
        with pytest.raises(InputError, match=r"secret\.png may not be read: permission denied"):
            read_photo(path)
    finally:
        if root:
            os.seteuid(0)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "PNG 16", "WEBP", "TIFF", "GIF", "BMP", "HEIC", "AVIF"])
def test_a_file_cut_short_is_damaged_and_never_half_a_photo(kind: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 96, 3)).astype(np.uint8)
    if kind == "HEIC":
        file = io.BytesIO()
        pillow_heif.from_pillow(Image.fromarray(noise)).save(file)
        data = file.getvalue()
    elif kind == "PNG 16":
        data = png(noise.astype(np.uint16) * 257)
    else:
        data = saved(Image.fromarray(noise), kind)
    for share in (0.3, 0.6, 0.9):
        with pytest.raises(InputError, match="is damaged"):
            read(data[: int(len(data) * share)])
    assert not ImageFile.LOAD_TRUNCATED_IMAGES


def test_random_damage_is_one_sentence_or_a_photo() -> None:
    """Whatever a decoder raises, it is an InputError; the seed makes each run the same."""
    random = np.random.default_rng(5)
    files = [
        saved(Image.fromarray(pattern()), kind) for kind in ("JPEG", "PNG", "TIFF", "GIF", "BMP", "WEBP")
    ]
    refused = 0
    for _ in range(150):
        data = bytearray(files[random.integers(len(files))])
        for place in random.integers(0, min(len(data), 300), 3):
            data[place] = random.integers(256)
        try:
            photo = read(bytes(data), max_megapixels=1)
        except InputError:
            refused += 1
        except UserWarning:  # Pillow's about odd tags, an error in these tests only
            pass
        else:
            assert float(photo.rgb.min()) >= 0 and float(photo.rgb.max()) <= 1
    assert 20 < refused < 150


def test_a_bomb_is_refused_by_its_header(monkeypatch: pytest.MonkeyPatch) -> None:
    """250 megapixels in a few bytes: nobody gets as far as to decode them."""

    def decoding(*_: object) -> None:
        pytest.fail("the pixels were decoded")

    monkeypatch.setattr(ImageFile.ImageFile, "load", decoding)
    monkeypatch.setattr(cv2, "imdecode", decoding)
    bomb = png(np.zeros((16, 16, 3), np.uint8), wh=(25000, 10000))
    deep = png(np.zeros((16, 16, 3), np.uint16), wh=(25000, 10000))
    tiff = bytearray(saved(Image.new("L", (16, 16)), "TIFF"))
    (directory,) = struct.unpack_from("<I", tiff, 4)
    struct.pack_into("<I", tiff, directory + 2 + 8, 25000)
    struct.pack_into("<I", tiff, directory + 2 + 12 + 8, 10000)
    for data in (bomb, deep, bytes(tiff)):
        with pytest.raises(InputError, match=r"25000×10000 px, 250 megapixels; the limit .* is 200\."):
            read(data)
    with pytest.raises(InputError, match="the limit .* is 0.0001"):
        read(saved(Image.new("RGB", (20, 20)), "GIF"), max_megapixels=1e-4)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "GIF", "WEBP"])
def test_pillows_own_limit_does_not_count(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither its warning (an error in these tests) nor its exception; ours is the one that counts."""
    expected = Image.fromarray(pattern())
    data = saved(expected, kind, lossless=True)
    for limit in (500, 100):  # 864 pixels: one and a half times, and more than twice
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        found = values(read(data))
        assert limit == Image.MAX_IMAGE_PIXELS
        if kind in ("PNG", "TIFF", "WEBP"):
            assert np.array_equal(found.round(), np.asarray(expected))


def test_too_small_and_too_long_pictures_are_refused() -> None:
    said = {
        (1, 1): "1×1 px; both sides must be at least 16 px",
        (3, 2000): "3×2000 px; both sides",
        (15, 16): "15×16 px; both sides",
        (16, 321): "16×321 px; one side may be at most 20 times the other",
    }
    for wh, words in said.items():
        with pytest.raises(InputError, match=words):
            read(saved(Image.new("RGB", wh), "PNG"))
    assert read(saved(Image.new("RGB", (320, 16)), "PNG")).camera.hw == (16, 320)


def test_a_cameras_raw_file_is_not_read_as_its_thumbnail() -> None:
    data = saved(Image.new("RGB", (160, 120)), "TIFF", tiffinfo={254: 1})
    with pytest.raises(InputError, match="raw file; develop it"):
        read(data)


# From memory, and to another size.


def test_an_array_becomes_a_photo() -> None:
    eight = pattern()
    forms = [eight, eight.astype(np.uint16) * 257, eight / 255, (eight / 255).astype(np.float32)]
    forms += [torch.from_numpy(eight).permute(2, 0, 1) / 255]
    for form in forms:
        photo = photo_from_array(form, name="drawing")
        assert np.abs(values(photo) - eight).max() < 1e-3
        assert photo.rgb.dtype == torch.float32 and photo.rgb.is_contiguous()
        assert photo.capture == Capture("drawing") and photo.camera == Camera.from_field_of_view((24, 36))
    camera = Camera(50.0, (18.0, 12.0), (24, 36))
    assert photo_from_array(eight, camera).camera is camera


def test_a_photo_does_not_change_with_the_array_it_came_from() -> None:
    array, tensor = np.zeros((24, 36, 3), np.float32), torch.zeros(3, 24, 36)
    photos = photo_from_array(array), photo_from_array(tensor)
    array[:], tensor[:] = 1, 1
    assert all(float(photo.rgb.max()) == 0 for photo in photos)


def test_an_array_that_is_no_photo_is_refused() -> None:
    nan = np.full((24, 36, 3), np.nan)
    said = [
        (np.zeros((24, 36), np.uint8), r"must be \[H, W, 3\]"),
        (np.zeros((3, 24, 36), np.uint8), r"must be \[H, W, 3\]"),
        (np.zeros((24, 36, 3), np.int64), "int64; it must hold uint8"),
        (np.full((24, 36, 3), 255.0), "from 255 to 255; floats must lie between 0 and 1"),
        (nan, "2592 values that are not finite"),
        (torch.zeros(24, 36, 3), r"a tensor must be \[3, H, W\]"),
        (torch.zeros(3, 24, 36, dtype=torch.uint8), "of floats"),
        (np.zeros((4, 36, 3)), "at least 16 px"),
    ]
    for array, words in said:
        with pytest.raises(InputError, match=words):
            photo_from_array(array)
    with pytest.raises(InputError, match="its camera"):
        photo_from_array(pattern(), Camera.from_field_of_view((36, 24)))


def test_resizing_keeps_the_view_and_what_is_known_of_it() -> None:
    photo = read(saved(Image.fromarray(pattern(48, 72)), "JPEG", exif=exif(focal=26)))
    for hw in ((24, 36), (96, 144), (40, 60)):
        small = resized(photo, hw)
        assert small.rgb.shape == (3, *hw) and small.rgb.is_contiguous() and small.rgb.dtype == torch.float32
        assert small.camera == photo.camera.resized(hw)
        assert small.capture is photo.capture
        assert small.rgb.mean() == pytest.approx(float(photo.rgb.mean()), abs=0.01)
        assert float(small.rgb.min()) >= 0 and float(small.rgb.max()) <= 1


def test_shrinking_takes_means_so_that_nothing_flickers() -> None:
    checks = np.indices((60, 90)).sum(0) % 2
    photo = photo_from_array(np.repeat(checks[..., None], 3, axis=2).astype(np.float32))
    for hw in ((30, 45), (20, 30), (13, 19)):
        # Odd ratios weigh one colour a little more at the cells' borders.
        assert (resized(photo, hw).rgb - 0.5).abs().max() < 0.15
    block = photo_from_array(pattern(24, 36))
    assert torch.allclose(resized(block, (4, 6)).rgb, block.rgb[:, 3::6, 3::6], atol=1e-6)


def test_enlarging_puts_the_pixels_centres_right() -> None:
    """A ramp stays that ramp, with corners, not centres, in the corners; cubic curves keep lines."""
    ramp = np.tile(((np.arange(32) + 0.5) / 32)[None, :, None], (32, 1, 3))
    large = resized(photo_from_array(ramp), (32, 96))
    expected = torch.from_numpy((np.arange(96) + 0.5) / 96).float()
    assert (large.rgb[0, 16] - expected)[6:-6].abs().max() < 2e-3
