"""Reloads under load: no call fails, replies are of one version or the other, and nothing is left behind."""

from __future__ import annotations

import gc
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil

from guesthouse.event import Event, Trigger
from guesthouse.plan.reload import ReloadOutcome
from inference import tiny_models
from reload.reloading import MANIFEST, Reloading, reloading, replace_file, says
from support.waiting import until

CALLERS = 6  # three for each of its slots
RELOADS = 40
MORE = '[guests.other]\nmodule = "says.wasm"\ncalling = "command"\n[[invoke]]\nmethod = "other"\nguest = "other"\n'


def test_no_call_fails_while_it_reloads_back_and_forth(manifest: Path, tmp_path: Path, log):
    """Modules change, guests come and go, some reloads are refused. What a caller asks after a reload is new."""
    stop = threading.Event()

    def call(app: Reloading) -> Counter[str]:
        replies: Counter[str] = Counter()
        while not stop.is_set():
            replies[app.ask()] += 1
        return replies

    with reloading(manifest) as app, ThreadPoolExecutor(CALLERS) as threads:
        calls = [threads.submit(call, app) for _ in range(CALLERS)]
        try:
            for number in range(RELOADS):
                text = ("new", "old")[number % 2]
                replace_file(tmp_path / "says.wasm", says(text))
                replace_file(manifest, MANIFEST + MORE if number % 3 else MANIFEST)
                assert app.reloader.reload() is ReloadOutcome.DONE
                assert app.ask() == text
                if number % 5 == 0:
                    replace_file(manifest, "broken")
                    assert app.reloader.reload() is ReloadOutcome.REFUSED
        finally:
            stop.set()
        replies = sum((one.result() for one in calls), Counter[str]())
        until(lambda: app.plans.alive == 1)
        assert app.metrics.registry().get_sample_value("guesthouse_reloads_total", {"outcome": "done"}) == RELOADS
    assert set(replies) == {"old", "new"}
    assert [line for line in log if line["event"] == "failed"] == []


def test_nothing_is_left_of_plans_that_were(manifest: Path, tmp_path: Path, log):
    """Memory, threads and descriptors, with code, a model and its batches exchanged each time."""
    models = [tiny_models.doubling(), tiny_models.doubling()]
    models[1].doc_string = "another file"
    paths = [tiny_models.save(tmp_path, model).rename(tmp_path / f"{n}.onnx") for n, model in enumerate(models)]
    with_model = MANIFEST + '[models.m]\npath = "m.onnx"\nbatch = { size = 4 }\n'
    replace_file(tmp_path / "m.onnx", paths[0].read_bytes())
    replace_file(manifest, with_model)

    def reload(app: Reloading, times: int) -> None:
        for number in range(times):
            replace_file(tmp_path / "says.wasm", says(("new", "old")[number % 2]))
            replace_file(tmp_path / "m.onnx", paths[number % 2].read_bytes())
            assert app.reloader.reload() is ReloadOutcome.DONE
            app.client.send(Event(Trigger.INVOKE, "say"), timeout=60)
            log.clear()
        until(lambda: app.plans.alive == 1)
        gc.collect()

    process = psutil.Process()
    with reloading(manifest) as app:
        reload(app, 100)  # what is kept by intention has its size by then
        threads, descriptors, memory = process.num_threads(), process.num_fds(), process.memory_info().rss
        reload(app, 100)
        until(lambda: process.num_threads() <= threads)
        assert process.num_fds() <= descriptors
        assert process.memory_info().rss - memory < 4 << 20
        assert app.plans.alive == 1
        assert not app.plans._retired
