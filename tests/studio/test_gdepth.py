"""A photo with its depth inside is read by us, and by whoever reads XMP."""

from __future__ import annotations

import base64
import io
import re
import struct
from pathlib import Path
from xml.dom import minidom

import numpy as np
import pytest
import torch
from PIL import Image

from kinephoto.errors import InputError
from kinephoto.scene.camera import Camera
from kinephoto.scene.depth import estimate_depth
from kinephoto.scene.photo import read_photo
from kinephoto.scene.values import Capture, Disparity, Photo
from kinephoto.studio.gdepth import GDEPTH, write_gdepth

HW = (300, 400)


def photo(field_of_view: str = "assumed", angle_deg: float = 55.0) -> Photo:
    rgb = torch.rand(3, 6, 8, generator=torch.Generator().manual_seed(2))
    rgb = torch.nn.functional.interpolate(rgb[None], HW, mode="bicubic").clamp(0, 1)[0]
    return Photo(
        rgb, Camera.from_field_of_view(HW, angle_deg), Capture("beach.jpg", field_of_view=field_of_view)
    )


def depth(metric: bool = False, noise: float = 0.02) -> Disparity:
    """A ramp with a near square; noise makes the map too long for one segment."""
    values = torch.linspace(0.06, 0.6, HW[1])[None].expand(HW).clone()
    values[100:200, 50:150] = 1.0
    values += noise * torch.rand(HW, generator=torch.Generator().manual_seed(4))
    return Disparity(values, metric, "test")


def packets(path: Path) -> tuple[dict[str, str], dict[str, str]]:
    """The attributes in the standard and in the extended packet, by minidom, as the XMP specification says."""
    data, at = path.read_bytes(), 2
    standard, pieces, guids, length = b"", {}, set(), 0
    while data[at] == 0xFF and data[at + 1] != 0xDA:
        (size,) = struct.unpack_from(">H", data, at + 2)
        body = data[at + 4 : at + 2 + size]
        if data[at + 1] == 0xE1 and body.startswith(b"http://ns.adobe.com/xap/1.0/\0"):
            standard = body[29:]
        if data[at + 1] == 0xE1 and body.startswith(b"http://ns.adobe.com/xmp/extension/\0"):
            guids.add(body[35:67].decode())
            length, start = struct.unpack_from(">II", body, 67)
            pieces[start] = body[75:]
        at += 2 + size
    extended = b"".join(pieces[start] for start in sorted(pieces))
    assert len(extended) == length
    found = []
    for packet in (standard, extended):
        (description,) = minidom.parseString(packet).getElementsByTagName("rdf:Description")
        found.append(dict(description.attributes.items()))
    assert guids == {found[0]["xmpNote:HasExtendedXMP"]}
    return found[0], found[1]


def test_whoever_reads_xmp_finds_the_map(tmp_path: Path) -> None:
    file = write_gdepth(photo(), depth(), tmp_path / "a.jpg")
    assert file.read_bytes().count(b"http://ns.adobe.com/xmp/extension/") > 1  # it comes in pieces
    told, long = packets(file)
    assert told["xmlns:GDepth"] == long["xmlns:GDepth"] == GDEPTH
    assert (told["GDepth:Format"], told["GDepth:Mime"]) == ("RangeInverse", "image/png")
    assert "GDepth:Units" not in told  # nobody knows the metres
    with Image.open(io.BytesIO(base64.b64decode(long["GDepth:Data"], validate=True))) as picture:
        assert picture.mode == "L" and picture.size == HW[::-1]
        share = np.asarray(picture) / 255
    near, far = float(told["GDepth:Near"]), float(told["GDepth:Far"])
    values = 1 / near - share * (1 / near - 1 / far)
    # Half of one of 255 steps.
    assert np.abs(values - depth().numpy()).max() <= 0.5 / 255 * (1 / near - 1 / far) + 1e-4
    assert share[150, 100] < share[10, 390] < share[10, 10]  # black is near


def test_it_is_read_back_as_embedded_depth(tmp_path: Path) -> None:
    file = write_gdepth(photo(), depth(noise=0), tmp_path / "a.jpg")
    again = read_photo(file)
    assert again.rgb.shape == (3, *HW) and float((again.rgb - photo().rgb).abs().mean()) < 0.02
    found = estimate_depth(again, "embedded")
    assert found.source == "embedded"
    # Away from the steps, whose edges are drawn to the photo's.
    error = (found.values - depth(noise=0).values).abs()
    assert float(error[:, 160:].max()) < 0.01 and float(error[110:190, 60:140].max()) < 0.01


def test_how_far_a_relative_map_reaches_is_still_to_be_chosen(tmp_path: Path) -> None:
    """As it was before it was written; a metric one's is known."""
    for metric in (False, True):
        again = read_photo(write_gdepth(photo(), depth(metric, noise=0), tmp_path / "a.jpg"))
        lows = [float(estimate_depth(again, "embedded", floor=floor).values.min()) for floor in (0.06, 0.3)]
        assert lows[0] == pytest.approx(0.06, abs=0.01)
        assert lows[1] == pytest.approx(0.06 if metric else 0.3, abs=0.01)


def test_metric_depth_keeps_metres_and_infinity_comes_to_an_end(tmp_path: Path) -> None:
    values = depth(metric=True).values.clone()
    values[:20] = 0  # the sky
    told, _ = packets(write_gdepth(photo(), Disparity(values, True), tmp_path / "a.jpg"))
    assert told["GDepth:Units"] == "m"
    assert float(told["GDepth:Near"]) == pytest.approx(1 / float(values.max()), rel=1e-5)
    assert float(told["GDepth:Far"]) == pytest.approx(1000 * float(told["GDepth:Near"]), rel=1e-5)


@pytest.mark.parametrize("level", [0.0, 0.7])
def test_a_plane_is_a_plane(tmp_path: Path, level: float) -> None:
    file = write_gdepth(photo(), Disparity(torch.full(HW, level)), tmp_path / "a.jpg")
    found = read_photo(file).capture.embedded_disparity
    assert found is not None and float(found.max() - found.min()) == 0 and float(found.min()) > 0


def test_the_field_of_view_is_kept(tmp_path: Path) -> None:
    for angle_deg in (40.0, 75.0):
        again = read_photo(write_gdepth(photo("exif", angle_deg), depth(), tmp_path / "a.jpg"))
        assert again.capture.field_of_view == "exif"
        # EXIF counts whole millimetres.
        assert again.camera.focal_px == pytest.approx(photo("exif", angle_deg).camera.focal_px, rel=0.03)
    assert read_photo(write_gdepth(photo(), depth(), tmp_path / "a.jpg")).capture.field_of_view == "assumed"


def test_the_same_photo_is_the_same_bytes_and_others_open_it(tmp_path: Path) -> None:
    one, two = (write_gdepth(photo(), depth(), tmp_path / name) for name in ("a.jpg", "b.jpeg"))
    assert one.read_bytes() == two.read_bytes()
    with Image.open(one) as picture:
        picture.load()
        assert picture.size == HW[::-1] and [part[1:3] for part in picture.layer] == [(1, 1)] * 3
        assert re.search(r"depthmap", picture.info["xmp"].decode())


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a.png ends in .png; kinephoto writes a photo with depth as .jpg"):
        write_gdepth(photo(), depth(), tmp_path / "a.png")
    with pytest.raises(InputError, match=r"The depth map is \(3, 4\), the photo \(300, 400\)"):
        write_gdepth(photo(), Disparity(torch.ones(3, 4)), tmp_path / "a.jpg")
    assert list(tmp_path.iterdir()) == []
