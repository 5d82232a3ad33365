"""``kinephoto train``: what is said when a run is stopped."""

from __future__ import annotations

from pathlib import Path

import pytest

from kinephoto.app.cli import app
from kinephoto.learn.photos import Progress


@pytest.mark.parametrize(
    ("held_out", "says"),
    [
        (0.3, "the weights of the last check lie in {out}/vae, and --init {out}/vae goes on from them."),
        (None, "Stopped before the first check, so nothing of this run is kept"),
    ],
)
def test_a_stopped_autoencoder_says_what_is_kept(
    held_out: float | None, says: str, tmp_path: Path, monkeypatch, capsys
) -> None:
    def stopped(settings):
        yield Progress(1, 9, 0.5, held_out, 1.0)
        raise KeyboardInterrupt

    monkeypatch.setattr("kinephoto.learn.autoencoder.train_autoencoder", stopped)
    out = tmp_path / "out"
    with pytest.raises(SystemExit) as ended:
        app(["train", "autoencoder", "--photos", str(tmp_path), "--out", str(out)], standalone_mode=False)
    assert ended.value.code == 130
    said = capsys.readouterr().err
    assert says.format(out=out) in said
    assert "goes on from here" not in said


def test_a_stopped_painter_goes_on_by_the_same_command(tmp_path: Path, monkeypatch, capsys) -> None:
    def stopped(settings):
        yield Progress(1, 9, 0.5, None, 1.0)
        raise KeyboardInterrupt

    monkeypatch.setattr("kinephoto.learn.train.train_painter", stopped)
    with pytest.raises(SystemExit):
        app(["train", "painter", "--photos", str(tmp_path), "--out", "out"], standalone_mode=False)
    assert "Stopped; the same command goes on from here." in capsys.readouterr().err
