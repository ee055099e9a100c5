"""Figures as files: three formats, the fonts inside, the same bytes again, whole or not at all."""

import re

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from akd_gym.analysis.figure_files import PRINT_DPI, write_figure
from akd_gym.errors import StorageError, UnknownNameError


def make_figure(points=50):
    figure = Figure(figsize=(3, 2), layout="constrained")
    axes = figure.add_subplot()
    rng = np.random.default_rng(0)
    axes.scatter(*rng.random((2, points)), rasterized=points > 1000)
    axes.fill_between([0, 1], [0, 1])
    axes.set_xlabel("latency (ms)")
    return figure


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
def test_a_figure_made_anew_is_the_same_file_without_a_date(tmp_path, suffix):
    first = write_figure(tmp_path / f"first{suffix}", make_figure(2000)).read_bytes()
    assert write_figure(tmp_path / f"second{suffix}", make_figure(2000)).read_bytes() == first
    assert not re.search(rb"CreationDate|dc:date|Matplotlib v|matplotlib.org", first)


def test_a_png_has_the_dots_of_print(tmp_path):
    with Image.open(write_figure(tmp_path / "figure.png", make_figure())) as image:
        assert image.size == (3 * PRINT_DPI, 2 * PRINT_DPI) == (900, 600)
        assert image.info["dpi"] == pytest.approx((300, 300), abs=0.1)
    with Image.open(write_figure(tmp_path / "figure.PNG", make_figure(), dpi=50)) as image:
        assert image.size == (150, 100)


def test_fonts_are_inside(tmp_path):
    pdf = write_figure(tmp_path / "figure.pdf", make_figure()).read_bytes()
    assert b"/Type3" not in pdf
    assert b"/FontFile2" in pdf  # an embedded TrueType font
    svg = write_figure(tmp_path / "figure.svg", make_figure()).read_text()
    assert "<text" not in svg  # letters are outlines
    assert "DejaVuSans" in svg
    assert "font-family" not in svg


def test_a_large_cloud_is_a_picture_at_the_same_dots(tmp_path):
    pdf = write_figure(tmp_path / "figure.pdf", make_figure(2000)).read_bytes()
    assert pdf.count(b"/Subtype /Image") == 2  # the colours and their opacity
    [width] = set(re.findall(rb"/Width (\d+)", pdf))
    [height] = set(re.findall(rb"/Height (\d+)", pdf))
    assert 500 < int(width) < 900
    assert 300 < int(height) < 600


def test_settings_of_matplotlib_are_left_alone(tmp_path):
    before = dict(matplotlib.rcParams)
    write_figure(tmp_path / "figure.svg", make_figure())
    assert dict(matplotlib.rcParams) == before


def test_what_cannot_be_written_leaves_the_old_file(tmp_path):
    with pytest.raises(UnknownNameError, match=r"Unknown format of a figure's file '.pgn'. Did you mean '.png'\?"):
        write_figure(tmp_path / "figure.pgn", make_figure())
    with pytest.raises(UnknownNameError, match=r"Known: \.png, \.svg, \.pdf"):
        write_figure(tmp_path / "figure", make_figure())
    with pytest.raises(StorageError, match="cannot be written"):
        write_figure(tmp_path / "missing" / "figure.pdf", make_figure())
    assert list(tmp_path.iterdir()) == []
