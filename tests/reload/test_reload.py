"""Reload: what a changed manifest, module or model makes of a running application, and what it does not."""

from __future__ import annotations

import re
import threading
from collections.abc import MutableMapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest

from guesthouse.event import Event, Failure, Reason, Trigger
from guesthouse.guests.guest import load_code
from guesthouse.guests.process.pool import Pool
from guesthouse.inference.registry import Registry
from guesthouse.plan.build import build
from guesthouse.plan.reload import ReloadOutcome
from tests.inference import tiny_models
from tests.reload.reloading import MANIFEST, Reloading, reloading, replace_file, says, told
from tests.support.waiting import until


def sessions(models: Registry, name: str) -> object:
    """Those of a model; none when it is closed."""
    model = models.named(name)
    assert model is not None
    return model._sessions


def pools(app: Reloading) -> dict[str, Pool]:
    """The worker processes of each guest that has them."""
    runners = {name: guest.runner for name, guest in app.plans.now.guests.items()}
    return {name: runner for name, runner in runners.items() if isinstance(runner, Pool)}


def named(log: list[MutableMapping[str, Any]], event: str) -> list[MutableMapping[str, Any]]:
    return [line for line in log if line["event"] == event]


def refused(app: Reloading, log: list[dict[str, object]]) -> str:
    """Why a reload was refused: one line."""
    log.clear()
    assert app.reloader.reload() is ReloadOutcome.REFUSED
    (line,) = log
    assert (line["event"], line["log_level"]) == ("not reloaded", "error")
    return str(line["error"])


# What is taken in


def test_a_changed_module_answers_from_the_reload_on(app: Reloading, tmp_path: Path, log):
    assert app.ask() == "old"
    replace_file(tmp_path / "says.wasm", says("new"))
    assert app.ask() == "old"
    assert app.reloader.reload() is ReloadOutcome.DONE
    assert app.ask() == "new"
    (line,) = named(log, "reloaded")
    assert (line["loaded"], line["gone"], line["guests"]) == (["guest says"], [], 1)


def test_an_event_inside_finishes_on_the_old_code_and_the_old_plan_ends_with_it(app: Reloading, tmp_path, gate):
    replace_file(tmp_path / "says.wasm", says("slow", log="wait"))
    app.reloader.reload()
    before = app.plans.now
    with ThreadPoolExecutor(1) as threads:
        inside = threads.submit(app.ask)
        until(lambda: before.guests["says"].slots.busy)
        replace_file(tmp_path / "says.wasm", says("new"))
        app.reloader.reload()
        assert app.ask() == "new"
        assert app.plans.alive == 2
        assert not inside.done()
        gate.set()
        assert inside.result() == "slow"
    until(lambda: app.plans.alive == 1)
    assert before.models._closed


def test_a_new_guest_and_its_route_are_there(app: Reloading, manifest: Path, tmp_path: Path):
    (tmp_path / "other.wasm").write_bytes(says("other"))
    more = '[guests.other]\nmodule = "other.wasm"\ncalling = "command"\n[[invoke]]\nmethod = "other"\nguest = "other"\n'
    replace_file(manifest, MANIFEST + more)
    app.reloader.reload()
    assert (app.ask("say"), app.ask("other")) == ("old", "other")


def test_a_guest_that_is_taken_out_is_not_found_and_gone(app: Reloading, manifest: Path, log):
    replace_file(manifest, MANIFEST.partition("[guests")[0])
    app.reloader.reload()
    with pytest.raises(Failure, match="no guest answers the method 'say'") as caught:
        app.ask()
    assert caught.value.reason is Reason.NOT_FOUND
    assert named(log, "reloaded")[0]["gone"] == ["guest says"]
    replace_file(manifest, MANIFEST)
    app.reloader.reload()
    assert app.ask() == "old"


@pytest.mark.parametrize(
    ("switch", "said"),
    [
        (MANIFEST.replace("calling", "enabled = false\ncalling"), "guest 'says' is switched off"),
        (MANIFEST + "enabled = false\n", "the invoke 'say' is switched off"),
    ],
    ids=["guest", "route"],
)
def test_a_guest_or_a_route_is_switched_off_and_on(app: Reloading, manifest: Path, switch: str, said: str):
    replace_file(manifest, switch)
    app.reloader.reload()
    with pytest.raises(Failure, match=re.escape(said)) as caught:
        app.ask()
    assert (caught.value.reason, caught.value.guest) == (Reason.OFF, "says")
    replace_file(manifest, MANIFEST)
    app.reloader.reload()
    assert app.ask() == "old"


def test_a_guest_that_is_switched_off_is_not_looked_at(app: Reloading, manifest: Path, tmp_path: Path):
    (tmp_path / "says.wasm").write_bytes(b"broken")
    replace_file(manifest, MANIFEST.replace("calling", "enabled = false\ncalling"))
    assert app.reloader.reload() is ReloadOutcome.DONE
    assert not app.plans.now.guests


def test_a_switched_off_topic_is_told_to_keep_its_messages(manifest: Path):
    """The subscription stays: a sidecar would not ask again when it is switched on."""
    topic = '[[topic]]\npubsub = "p"\ntopic = "t"\nguest = "says"\nenabled = false\n'
    replace_file(manifest, MANIFEST + topic)
    with reloading(manifest) as app:
        with pytest.raises(Failure, match="the topic 'p/t' is switched off"):
            app.client.send(Event(Trigger.TOPIC, "p/t", b"{}"), timeout=60)
        callback: Any = app.application.server._callback
        told = callback.ListTopicSubscriptions(None, None)
        assert [one.topic for one in told.subscriptions] == ["t"]


# What is refused


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("guesthouse.toml", b"[app"), "not TOML"),
        (("guesthouse.toml", MANIFEST.replace("command", "commando").encode()), '"commando" is not a choice'),
        (("says.wasm", b"\0asm\1\0\0\0\xff"), "does not compile"),
        (("says.wasm", None), "cannot be read (No such file or directory)"),
        (("guesthouse.toml", None), "there is no manifest"),
        (
            ("guesthouse.toml", MANIFEST.replace("concurrency = 2", "concurrency = 99").encode()),
            "its guests need 99 events at once (the sum of limits.concurrency), this process was started for 66: "
            "it needs a restart",
        ),
        (
            ("guesthouse.toml", MANIFEST.replace("concurrency = 2", 'concurrency = 2, memory = "1GiB"').encode()),
            "its guests need 1073741824 bytes of memory (the largest limits.memory), this process was started for "
            "134217728: it needs a restart",
        ),
        (
            ("guesthouse.toml", MANIFEST.replace("concurrency = 2", "concurrency = 2, queue = 5000").encode()),
            "its guests need 5002 events inside (the sum of limits.concurrency and limits.queue), this process was "
            "started for 1090: it needs a restart",
        ),
    ],
)
def test_a_bad_change_is_refused_with_one_line_and_the_old_goes_on(app: Reloading, tmp_path: Path, log, change, said):
    name, data = change
    if data is None:
        (tmp_path / name).unlink()
    else:
        replace_file(tmp_path / name, data)
    before = app.plans.now
    assert said in refused(app, log)
    assert app.plans.now is before
    assert app.ask() == "old"


def test_all_faults_of_a_bad_change_are_in_its_line(app: Reloading, manifest: Path, log):
    bad = MANIFEST + '[models.m]\npath = "m.onnx"\n[guests.none]\nmodule = "none.wasm"\ncalling = "command"\n'
    replace_file(manifest, bad)
    said = refused(app, log)
    assert "model 'm'" in said
    assert "guest 'none'" in said


def test_an_error_of_ours_leaves_the_old_one_running(app: Reloading, log, monkeypatch):
    monkeypatch.setattr("guesthouse.plan.reload.build", lambda *_: 1 // 0)
    assert refused(app, log) == "ZeroDivisionError: integer division or modulo by zero"
    assert app.ask() == "old"


def test_a_reload_that_the_end_overtakes_comes_to_nothing(app: Reloading, tmp_path: Path, log, monkeypatch):
    built = []

    def slowly(*arguments):
        built.append(build(*arguments))
        app.reloader.stop()
        return built[0]

    monkeypatch.setattr("guesthouse.plan.reload.build", slowly)
    replace_file(tmp_path / "says.wasm", says("new"))
    assert refused(app, log) == "the application is shutting down"
    assert app.ask() == "old"
    assert built[0].models._closed
    log.clear()
    app.reloader.request()
    assert [(line["event"], line["error"]) for line in log] == [("not reloaded", "the application is shutting down")]


# What needs a restart


def test_keys_that_need_a_restart_are_named_without_their_values_and_the_rest_is_taken_in(
    app: Reloading, manifest: Path, tmp_path: Path, log
):
    fixed = """
[server]
port = 1234
drain = { limit = "1s" }
[engine]
pooling = false
[metrics]
token = "a-new-secret"
[page]
apps = ["web"]
"""
    replace_file(manifest, MANIFEST.replace('name = "t"', 'name = "u"') + fixed)
    replace_file(tmp_path / "says.wasm", says("new"))
    for _ in range(2):  # and again at the next reload: they still differ
        log.clear()
        assert app.reloader.reload() is ReloadOutcome.DONE
        (line,) = named(log, "what has changed here needs a restart")
        keys = [
            "app.name",
            "engine.pooling",
            "server.port",
            "server.drain.limit",
            "page.apps",
            "metrics",
        ]
        assert line["keys"] == keys
        assert "a-new-secret" not in str(log)
    assert app.ask() == "new"
    assert app.plans.now.manifest.metrics is None


def test_a_larger_input_needs_the_largest_message_of_a_restart(app: Reloading, manifest: Path, log):
    replace_file(manifest, MANIFEST.replace("concurrency = 2", 'concurrency = 2, input = "64MiB"'))
    app.reloader.reload()
    assert named(log, "what has changed here needs a restart")[0]["keys"] == ["server.message"]


def test_sidecars_that_run_have_not_heard_of_other_topics_and_bindings_and_those_that_start_do(
    app: Reloading, manifest: Path, log
):
    topic = '[[topic]]\npubsub = "p"\ntopic = "t"\nguest = "says"\non_error = "drop"\n'
    topic += '[[binding]]\nname = "camera"\nguest = "says"\non_error = "drop"\n'
    replace_file(manifest, MANIFEST + topic)
    app.reloader.reload()
    (line,) = [line for line in log if "kill -HUP daprd" in str(line["event"])]
    assert (line["log_level"], line["topics"], line["bindings"]) == ("warning", ["p/t"], ["camera"])
    callback: Any = app.application.server._callback
    assert [one.topic for one in callback.ListTopicSubscriptions(None, None).subscriptions] == ["t"]
    assert list(callback.ListInputBindings(None, None).bindings) == ["camera"]
    log.clear()
    app.reloader.reload()
    assert told(log) == ["reloaded"]


def test_operations_of_the_component_are_told_at_the_start_alone(manifest: Path, tmp_path: Path, log):
    component = f'[component]\nname = "guests"\nfolder = "{tmp_path}"\n'
    replace_file(manifest, MANIFEST + component)
    (tmp_path / "other.wasm").write_bytes(says("other"))
    with reloading(manifest) as app:
        replace_file(manifest, MANIFEST + component + '[guests.other]\nmodule = "other.wasm"\ncalling = "command"\n')
        app.reloader.reload()
        assert named(log, "what has changed here needs a restart")[0]["keys"] == ["component.guests"]


# What is the same before and after


@pytest.fixture
def with_models(manifest: Path, tmp_path: Path) -> Path:
    for name in ("kept", "changed"):
        (tmp_path / name).mkdir()
        tiny_models.save(tmp_path / name, tiny_models.doubling()).rename(tmp_path / f"{name}.onnx")
    models = "".join(f'[models.{name}]\npath = "{name}.onnx"\n' for name in ("kept", "changed"))
    replace_file(manifest, MANIFEST + models)
    return manifest


def test_sessions_of_unchanged_models_are_the_same(with_models: Path, tmp_path: Path, log):
    with reloading(with_models) as app:
        first = app.plans.now.models
        changed = tiny_models.save(tmp_path, tiny_models.counting())
        changed.replace(tmp_path / "changed.onnx")
        log.clear()
        app.reloader.reload()
        second = app.plans.now.models
        assert named(log, "reloaded")[0]["loaded"] == ["model changed"]
        assert second.named("kept") is first.named("kept")
        assert second.named("changed") is not first.named("changed")
        until(lambda: app.plans.alive == 1)
        assert sessions(first, "changed") == ()
        assert sessions(second, "kept")
        assert sessions(second, "changed")
        app.reloader.reload()
        until(lambda: app.plans.alive == 1)
        assert sessions(app.plans.now.models, "kept")
    assert not sessions(second, "kept")


def test_a_refused_reload_leaves_the_models_open_that_it_had_shared(with_models: Path, tmp_path: Path, log):
    with reloading(with_models) as app:
        (tmp_path / "says.wasm").unlink()
        assert "cannot be read" in refused(app, log)
        assert sessions(app.plans.now.models, "kept")


def test_a_model_with_another_configuration_is_loaded_anew(with_models: Path):
    with reloading(with_models) as app:
        first = app.plans.now.models.named("kept")
        replace_file(with_models, with_models.read_text().replace('"kept.onnx"', '"kept.onnx"\nmax_batch = 4'))
        app.reloader.reload()
        assert app.plans.now.models.named("kept") is not first


def test_a_model_whose_external_data_changed_is_loaded_anew(manifest: Path, tmp_path: Path):
    (tmp_path / "w.bin").write_bytes(bytes(16))
    tiny_models.save(tmp_path, tiny_models.outside("w.bin")).rename(tmp_path / "m.onnx")
    replace_file(manifest, MANIFEST + '[models.m]\npath = "m.onnx"\n')
    with reloading(manifest) as app:
        first = app.plans.now.models.named("m")
        app.reloader.reload()
        assert app.plans.now.models.named("m") is first
        replace_file(tmp_path / "w.bin", bytes(15) + b"\1")
        app.reloader.reload()
        assert app.plans.now.models.named("m") is not first


def test_code_of_unchanged_modules_is_the_same(app: Reloading, manifest: Path, tmp_path: Path):
    module = app.plans.now.guests["says"].code.module
    (tmp_path / "renamed.wasm").write_bytes((tmp_path / "says.wasm").read_bytes())
    replace_file(
        manifest, MANIFEST.replace("says.wasm", "renamed.wasm").replace('"command"', '"command"\nargs = ["a"]')
    )
    app.reloader.reload()
    assert app.plans.now.guests["says"].code.module is module
    assert app.plans.now.guests["says"].config.grants.args == ("a",)


def test_slots_are_a_guests_own_across_reloads_so_it_never_answers_more_at_once(
    app: Reloading, manifest: Path, tmp_path: Path, gate: threading.Event
):
    """Also when its code changes, its limits do, or it was taken out for a while."""
    one = MANIFEST.replace("concurrency = 2", "concurrency = 1")
    replace_file(manifest, one)
    replace_file(tmp_path / "says.wasm", says("slow", log="wait"))
    app.reloader.reload()
    slots = app.plans.now.guests["says"].slots
    assert slots.limit == 1
    with ThreadPoolExecutor(2) as threads:
        inside = threads.submit(app.ask)
        until(lambda: slots.busy == 1)
        replace_file(tmp_path / "says.wasm", says("new"))
        app.reloader.reload()
        waiting = threads.submit(app.ask)
        until(lambda: slots.queued == 1)
        for text in (MANIFEST.partition("[guests")[0], one, one):
            replace_file(manifest, text)
            app.reloader.reload()
        assert app.plans.now.guests["says"].slots is slots
        assert (slots.busy, slots.queued) == (1, 1)
        replace_file(manifest, MANIFEST)
        app.reloader.reload()  # a second slot: who waited has it
        assert waiting.result() == "new"
        assert slots.busy == 1
        gate.set()
        assert inside.result() == "slow"
    until(lambda: app.plans.alive == 1)
    assert slots.busy == 0


def test_metrics_say_how_reloads_ended_and_count_on(app: Reloading, manifest: Path, tmp_path: Path):
    def value(name: str, **labels: str) -> float:
        found = app.metrics.registry().get_sample_value(name, labels)
        assert found is not None
        return found

    assert (value("guesthouse_reloads_total", outcome="done"), value("guesthouse_reload_last_successful")) == (0, 1)
    started = value("guesthouse_reload_last_success_timestamp_seconds")
    app.ask()
    (tmp_path / "says.wasm").write_bytes(b"")
    app.reloader.reload()
    assert value("guesthouse_reloads_total", outcome="refused") == 1
    assert value("guesthouse_reload_last_successful") == 0
    assert value("guesthouse_reload_last_success_timestamp_seconds") == started
    (tmp_path / "says.wasm").write_bytes(says("new"))
    (tmp_path / "other.wasm").write_bytes(says("other"))
    more = '[guests.other]\nmodule = "other.wasm"\ncalling = "command"\n[[invoke]]\nmethod = "other"\nguest = "other"\n'
    replace_file(manifest, MANIFEST + more)
    app.reloader.reload()
    assert (value("guesthouse_reloads_total", outcome="done"), value("guesthouse_reload_last_successful")) == (1, 1)
    assert value("guesthouse_reload_last_success_timestamp_seconds") > started
    assert value("guesthouse_code_compiles_total") + value("guesthouse_code_cache_hits_total") == 3
    app.ask("other")
    assert value("guesthouse_events_total", guest="says", trigger="invoke") == 1
    assert value("guesthouse_events_total", guest="other", trigger="invoke") == 1
    until(lambda: value("guesthouse_plans") == 1)


def test_a_guest_is_loaded_once_for_a_module_that_is_known(app: Reloading, monkeypatch):
    """Not looked up in the cache."""
    monkeypatch.setattr(app.plans.now.host.cache, "load", None)
    guest = app.plans.now.guests["says"]
    known = {guest.code.artefact: guest.code}
    again = load_code(guest.config, app.plans.now.host.engine, app.plans.now.host.cache, known)
    assert (again.module, again.compiled) == (guest.code.module, False)


def test_worker_processes_stay_where_nothing_of_them_has_changed(manifest: Path, tmp_path: Path, gate):
    (tmp_path / "other.wasm").write_bytes(says("other"))
    more = '[guests.other]\nmodule = "other.wasm"\ncalling = "command"\nisolation = "process"\n'
    more += '[[invoke]]\nmethod = "other"\nguest = "other"\n'
    replace_file(manifest, (MANIFEST + more).replace('"command"\nlimits', '"command"\nisolation = "process"\nlimits'))
    with reloading(manifest) as app:
        first = pools(app)
        assert (app.ask(), app.ask("other")) == ("old", "other")
        pids = {name: set(pool.pids) for name, pool in first.items()}
        replace_file(tmp_path / "says.wasm", says("new"))
        app.reloader.reload()
        assert (app.ask(), app.ask("other")) == ("new", "other")
        second = pools(app)
        until(lambda: app.plans.alive == 1)
        assert second["other"] is first["other"]
        assert set(second["other"].pids) == pids["other"]
        assert not set(second["says"].pids) & pids["says"]
        assert not any(psutil.pid_exists(pid) for pid in pids["says"])
    assert not any(psutil.pid_exists(pid) for pid in pids["other"])
