"""Which line of what runtimes print says why a program ended. The texts are as the runtimes print them."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guesthouse_abi.lastwords import ERROR_TEXT, LastWords, why
from tests.support.budget import examples


def heard(text: str) -> LastWords:
    words = LastWords()
    for line in text.splitlines():
        if line.strip():
            words.add(line)
    return words


def reason(stderr: str, stdout: str = "") -> str:
    return why(heard(stderr), heard(stdout))


GO = "panic: no such class\n\ngoroutine 1 [running]:\nmain.main()\n\t/home/ann/src/main.go:22 +0x1c\nexit status 2\n"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", ""),
        ("reading\nnot a picture\n\n", "not a picture"),
        (GO, "panic: no such class"),
        (
            "panic: first [recovered]\n\tpanic: second\n\ngoroutine 1 [running]:\nmain.main()\n",
            "panic: first [recovered]",
        ),
        ("panic: two\nlines\n\ngoroutine 1 [running]:\nmain.f(0x1)\n\t/a.go:1 +0x1\n", "panic: two"),
        (
            "runtime: goroutine stack exceeds 1000000000-byte limit\nfatal error: stack overflow\n\nruntime stack:\n"
            "runtime.throw({0x2c, 0xe})\n\t/go/panic.go:1 +0x3\n",
            "fatal error: stack overflow",
        ),
        (
            "fatal error: all goroutines are asleep - deadlock!\n\ngoroutine 1 [chan receive]:\nmain.main()\n",
            "fatal error: all goroutines are asleep - deadlock!",
        ),
        ("panic: runtime error: index out of range\n", "panic: runtime error: index out of range"),  # TinyGo
        (
            "thread 'main' panicked at src/main.rs:2:5:\nno such class\n"
            "note: run with `RUST_BACKTRACE=1` environment variable to display a backtrace\n",
            "thread 'main' panicked at src/main.rs:2:5: no such class",
        ),
        (
            "thread 'main' (1) panicked at src/main.rs:2:5:\ntwo\nlines\nstack backtrace:\n   0: rust_begin_unwind\n",
            "thread 'main' (1) panicked at src/main.rs:2:5: two",
        ),
        (
            "thread 'main' panicked at 'no such class', src/main.rs:2:5\nnote: run with `RUST_BACKTRACE=1`\n",
            "thread 'main' panicked at 'no such class', src/main.rs:2:5",
        ),
        ("Error: reading the picture\n\nCaused by:\n    0: decoding\n    1: no header\n", "Error: reading the picture"),
        ("Error: reading the picture\n\nCaused by:\n    no header\n", "Error: reading the picture"),
        (
            "thread 1 panic: reached unreachable code\nUnable to dump stack trace\n",
            "thread 1 panic: reached unreachable code",
        ),
        (
            'Traceback (most recent call last):\n  File "m.py", line 2, in <module>\n    f()\nValueError: no class',
            "ValueError: no class",
        ),
        ("Assertion failed: n > 0 (main.c: main: 5)\n", "Assertion failed: n > 0 (main.c: main: 5)"),
        (
            "libc++abi: terminating due to uncaught exception of type std::runtime_error: no such class\n",
            "libc++abi: terminating due to uncaught exception of type std::runtime_error: no such class",
        ),
        ("abort: no such class in assembly/index.ts(3:5)\n", "abort: no such class in assembly/index.ts(3:5)"),
        (
            "ReferenceError: x is not defined\n    at f (m.js:3)\n    at <eval> (m.js)\n",
            "ReferenceError: x is not defined",
        ),
        (
            'Exception in thread "main" java.lang.E: no such class\n\tat M.main(M.java:3)\n'
            "Caused by: b.C: x\n\t... 3 more\n",
            'Exception in thread "main" java.lang.E: no such class',
        ),
        (
            "Unhandled exception. System.Exception: no such class\n   at Program.Main()\n",
            "Unhandled exception. System.Exception: no such class",
        ),
        (
            "m.rb:1:in 'f': no such class (RuntimeError)\n\tfrom m.rb:3:in '<main>'\n",
            "m.rb:1:in 'f': no such class (RuntimeError)",
        ),
        ("lua: m.lua:1: no such class\nstack traceback:\n\t[C]: in ?\n", "lua: m.lua:1: no such class"),
        (
            'Fatal error: exception Failure("x")\nRaised at M.f in file "m.ml", line 1\n',
            'Fatal error: exception Failure("x")',
        ),
        (
            "m: no such class\nCallStack (from HasCallStack):\n  error, called at m.hs:1:8 in main:Main\n",
            "m: no such class",
        ),
        ("    at the beginning\n", "at the beginning"),
    ],
)
def test_the_line_that_says_what_went_wrong_is_told(text, line):
    assert reason(text) == line
    assert reason("", text) == line


def test_a_panic_comes_before_other_lines_and_standard_error_before_standard_output():
    assert reason("starting\n", GO) == "panic: no such class"
    assert reason("panic: here\n", GO) == "panic: here"
    assert reason("starting\n", "half a reply") == "starting"


def test_the_text_is_cut_but_not_within_a_character():
    assert reason("xx" + "€" * 1000) == "xx" + "€" * 340  # three bytes each, and the limit falls within one
    assert len(reason("x" * 5000)) == ERROR_TEXT


@settings(max_examples=examples(300), deadline=None)
@given(
    st.lists(
        st.sampled_from(
            ["panic: ", "thread 'x' panicked at ", "a:", "\t", " ", "at ", "Caused by:", "é", "goroutine 1 "]
        )
    ),
    st.text(),
)
def test_any_lines_have_a_text_within_the_bound(parts, rest):
    text = reason("\n".join(parts) + rest, "".join(parts))
    assert len(text.encode()) <= ERROR_TEXT
    assert "\n" not in text
