"""Granted files: what may be a file's name for a guest, and what fits together."""

from __future__ import annotations

import pytest

from guesthouse_abi.files import Files, layout_problems, path_problem
from guesthouse_abi.grants import Grants


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("models/m.tflite", "is not absolute: it must begin with /"),
        ("", "is not absolute: it must begin with /"),
        ("/", "is the root, which is no file"),
        ("/a//b", "has an empty part: two slashes in a row, or one at the end"),
        ("/a/", "has an empty part: two slashes in a row, or one at the end"),
        ("/a/./b", "has a part . or .., which no name of a file is"),
        ("/../b", "has a part . or .., which no name of a file is"),
        ("/a\0b", "has a control character"),
        ("/a\nb", "has a control character"),
        ("/a\ud800", "is not Unicode text"),
        ("/" + 128 * "ä", "has a part of more than 255 bytes"),
        (17 * ("/" + 240 * "a"), "has more than 4096 bytes"),
    ],
)
def test_says_what_is_wrong_with_a_path(path, problem):
    assert path_problem(path) == problem
    with pytest.raises(ValueError) as refused:
        Files({path: b""})
    assert problem in str(refused.value)


@pytest.mark.parametrize("path", ["/m.tflite", "/models/ä b.onnx", "/" + 255 * "a", "/...", 16 * ("/" + 255 * "a")])
def test_takes_absolute_normal_paths(path):
    assert path_problem(path) == ""
    assert Files({path: b"x"}).contents == {path: b"x"}


@pytest.mark.parametrize("paths", [("/a", "/a/b"), ("/a/b", "/a"), ("/a/b/c", "/a/b")])
def test_a_file_has_nothing_below_it(paths):
    with pytest.raises(ValueError, match=r"itself a file|both a file and a directory"):
        Files(dict.fromkeys(paths, b""))


def test_takes_read_only_views_alone():
    assert bytes(Files({"/a": memoryview(b"abc")}).contents["/a"]) == b"abc"
    for view in (memoryview(bytearray(b"abc")), memoryview(b"abcd").cast("I")):
        with pytest.raises(ValueError, match=r"^/a: a view that could be written to, or that is not of bytes$"):
            Files({"/a": view})


@pytest.mark.parametrize(
    ("grants", "problem"),
    [
        (Grants(body_file="body"), "body_file 'body' is not absolute: it must begin with /"),
        (Grants(reply_file="/a/"), "reply_file '/a/' has an empty part: two slashes in a row, or one at the end"),
        (
            Grants(scratch=1, scratch_path="/a//b"),
            "scratch_path '/a//b' has an empty part: two slashes in a row, or one",
        ),
        (Grants(body_file="/m/a.onnx"), "body_file /m/a.onnx is one of the files, too"),
        (Grants(body_file="/m"), "body_file /m has another file below it"),
        (Grants(body_file="/m/a.onnx/b"), "/m/a.onnx is a file, and there is another below it"),
        (Grants(scratch=1, scratch_path="/m/a.onnx"), "scratch_path /m/a.onnx is a file, not a directory"),
        (Grants(scratch=1, body_file="/tmp"), "scratch_path /tmp is a file, not a directory"),
        (Grants(reply_file="/m/a.onnx"), "reply_file /m/a.onnx is a file that the guest only reads"),
        (Grants(reply_file="/b", body_file="/b"), "reply_file /b is a file that the guest only reads"),
        (Grants(reply_file="/m"), "reply_file /m is a directory"),
        (Grants(scratch=1, reply_file="/tmp"), "reply_file /tmp is a directory"),
        (Grants(scratch=1, reply_file="/out"), "reply_file /out is not below /tmp, where the guest may write"),
    ],
)
def test_says_what_does_not_fit_together(grants, problem):
    assert any(found.startswith(problem) for found in layout_problems(["/m/a.onnx"], grants))


@pytest.mark.parametrize(
    "grants",
    [
        Grants(),
        Grants(scratch_path="nowhere"),
        Grants(body_file="/m/body", scratch=1, scratch_path="/m", reply_file="/m/out/reply"),
        Grants(scratch=1, scratch_path="/", reply_file="/reply"),
        Grants(body_file="/in.jpg", reply_file="/out/labels.txt"),
    ],
)
def test_what_fits_together_has_no_problem(grants):
    assert layout_problems(["/m/a.onnx"], grants) == []
