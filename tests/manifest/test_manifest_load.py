"""Reading whole manifests: defaults, the environment, and what is said about each thing that can be wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from guesthouse.faults import fault
from guesthouse.manifest import Manifest, ManifestError, load
from guesthouse_abi.grants import Grants, Limits

MiB = 1 << 20
APP = '[app]\nname = "vision"\n'
GUEST = '[guests.echo]\nmodule = "echo.wasm"\nfunction = "echo"\n'
DIGEST = "9f" * 32


@pytest.fixture
def read(tmp_path):
    """Load the manifest with this text (after a complete [app]) and this environment."""

    def read(text: str, /, app: str = APP, **environ: str) -> Manifest:
        path = tmp_path / "guesthouse.toml"
        path.write_text(app + text)
        return load(path, {"HOME": "/home/me", **environ})

    return read


@pytest.fixture
def faults(read, tmp_path):
    """What `load` says about this text, without the file's folder."""

    def faults(text: str, /, app: str = APP, **environ: str) -> list[str]:
        with pytest.raises(ManifestError) as caught:
            read(text, app, **environ)
        assert str(caught.value) == "; ".join(caught.value.faults)
        return [fault.replace(f"{tmp_path}/", "") for fault in caught.value.faults]

    return faults


# ---- what a manifest gives ----


def test_fills_in_every_default(read):
    manifest = read(GUEST)
    assert (manifest.server.host, manifest.server.port, manifest.server.token) == ("127.0.0.1", 50051, ())
    assert (manifest.server.drain.notice, manifest.server.drain.limit) == (0.0, 20.0)
    assert (manifest.engine.name, manifest.engine.pooling) == ("wasmtime", True)
    echo = manifest.guests["echo"]
    assert (echo.calling, manifest.isolation_of(echo), echo.reply_type) == ("bindgen", "thread", "")
    assert echo.grants() == Grants()
    limits = echo.limits.limits()
    assert limits == Limits(concurrency=limits.concurrency)
    assert limits.concurrency >= 2


def test_takes_paths_from_the_manifests_folder(read, tmp_path):
    manifest = read('[models.m]\npath = "../m.onnx"\n[guests.g]\nmodule = "/lib/g.wasm"\nfunction = "f"\n')
    assert manifest.models["m"].path == tmp_path.parent / "m.onnx"
    assert manifest.guests["g"].module == Path("/lib/g.wasm")


def test_takes_paths_from_the_manifests_folder_when_it_is_named_relatively(tmp_path, monkeypatch):
    (tmp_path / "guesthouse.toml").write_text(APP + GUEST)
    monkeypatch.chdir(tmp_path)
    assert load(Path("guesthouse.toml"), {}).guests["echo"].module == tmp_path / "echo.wasm"


def test_reads_a_guest_with_everything(read):
    manifest = read(
        f"""
        [models.m]
        path = "m.onnx"
        sha256 = "{DIGEST.upper()}"
        threads = 2
        batch = {{ size = 8, delay = "3ms" }}
        inputs = {{ "serving_default_x:0" = "x" }}
        [guests.g]
        module = "g.wasm"
        calling = "command"
        args = ["--fast"]
        env = {{ MODE = "dark" }}
        models = ["m"]
        image = "0.15"
        scale = true
        allow_guest_models = true
        limits = {{ memory = "1.5GiB", time = "1m30s", concurrency = 3, queue = 0, input = 1048576, output = "2MB" }}
        """
    )
    model, guest = manifest.models["m"], manifest.guests["g"]
    assert (model.sha256, model.threads, model.inputs) == (DIGEST, 2, {"serving_default_x:0": "x"})
    assert model.batch is not None
    assert (model.batch.size, model.batch.delay) == (8, 0.003)
    assert guest.grants() == Grants(frozenset({"m"}), (("MODE", "dark"),), ("--fast",), "0.15", True, True)
    expected = Limits(memory=1536 * MiB, time=90.0, concurrency=3, queue=0, input=MiB, output=2_000_000)
    assert guest.limits.limits() == expected


@pytest.mark.parametrize("name", ["mobilenet.v2", "./models/sum.tflite", "日本 ü", "a b", "ä" * 128])
def test_models_have_any_name_and_guests_their_own_for_them(read, name):
    manifest = read(
        f"""
        [models."{name}"]
        path = "m.onnx"
        [guests.a]
        module = "g.wasm"
        function = "f"
        models = ["{name}"]
        [guests.b]
        module = "g.wasm"
        function = "f"
        models = {{ "other.name" = "{name}", "./x" = "{name}" }}
        """
    )
    assert list(manifest.models) == [name]
    assert manifest.guests["a"].grants() == Grants(frozenset({name}))
    assert manifest.guests["b"].grants() == Grants(frozenset({name}), aliases=(("other.name", name), ("./x", name)))


@pytest.mark.parametrize("name", ["", r"a\nb", r"a\u0085b", r"\u001b", r"a\u007f"])
def test_refuses_control_characters_in_a_models_name(faults, name):
    text = f'[models."{name}"]\npath = "m.onnx"\n'
    assert any("not a model's name" in fault and "without control characters" in fault for fault in faults(text))


def test_refuses_a_models_name_that_is_too_long(faults):
    said = faults(f'[models."{"ä" * 129}"]\npath = "m.onnx"\n')
    assert any("too long for a model's name" in fault and "use at most 256 bytes" in fault for fault in said)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("", True), ("warm_up = false", False), ("warm_up = true", True), ('warm_up = "false"', False)],
)
def test_a_model_is_run_at_load_unless_the_manifest_says_no(read, text, expected):
    assert read(f'[models.m]\npath = "m.onnx"\n{text}\n').models["m"].warm_up is expected


def test_samples_are_a_path_from_the_manifests_folder(read, tmp_path):
    assert read('[models.m]\npath = "m.onnx"\nwarm_up = "s.npz"\n').models["m"].warm_up == tmp_path / "s.npz"


@pytest.mark.parametrize(
    ("text", "what", "key", "remedy"),
    [
        ("warm_up = 3", "3 is neither true, false nor a path", "warm_up", 'write one of them, as in "samples.npz"'),
        ("warm_up = ''", '"" is not a path', "warm_up", "write the path of a file, from the manifest's folder"),
        ("max_batch = 3000000000", "3000000000 is too much", "max_batch", "write at most 2147483647"),
        ("max_elements = 3000000000", "3000000000 is too much", "max_elements", "write at most 2147483647"),
    ],
)
def test_explains_a_fault_of_a_model(faults, text, what, key, remedy):
    assert fault(what, f"guesthouse.toml: models.m.{key}", remedy) in faults(f"[models.m]\npath = 'm'\n{text}\n")


def test_reads_every_kind_of_route(read):
    manifest = read(
        GUEST
        + """
        [[invoke]]
        method = "/api/image"
        guest = "echo"
        verbs = ["post"]
        [[invoke]]
        method = "api/image"
        guest = "echo"
        verbs = ["GET", "HEAD"]
        [[binding]]
        name = "camera"
        guest = "echo"
        to = ["results"]
        state = { store = "s", key = "k" }
        on_error = "drop"
        [[topic]]
        pubsub = "p"
        topic = "t"
        guest = "echo"
        bulk = { messages = 10 }
        dead_letter = "lost"
        [[topic]]
        pubsub = "p"
        topic = "t"
        guest = "echo"
        route = { match = "event.type == 'x'", path = "/x" }
        [[job]]
        name = "nightly"
        guest = "echo"
        """
    )
    assert [(one.method, one.verbs) for one in manifest.invoke] == [
        ("api/image", ("POST",)),
        ("api/image", ("GET", "HEAD")),
    ]
    (binding,) = manifest.binding
    assert (binding.to, binding.on_error) == (("results",), "drop")
    assert binding.state is not None
    assert (binding.state.store, binding.state.key) == ("s", "k")
    plain, routed = manifest.topic
    assert plain.bulk is not None
    assert (plain.bulk.messages, plain.bulk.wait, plain.dead_letter, plain.route) == (10, None, "lost", None)
    assert routed.route is not None
    assert (routed.route.match, routed.route.path) == ("event.type == 'x'", "/x")
    assert manifest.job[0].name == "nightly"


def test_makes_messages_as_large_as_the_largest_input(read):
    other = '[guests.big]\nmodule = "b.wasm"\nfunction = "f"\nlimits = { input = "40MiB" }\n'
    assert read(GUEST + other).server.message == 40 * MiB + 65536
    assert read(GUEST + other + '[server]\nmessage = "1MiB"\n').server.message == MiB


def test_is_frozen(read):
    manifest = read(GUEST)
    with pytest.raises(ValueError, match="frozen"):
        manifest.guests["echo"].function = "other"


# ---- the environment ----


def test_expands_variables_in_any_text(read):
    text = '[guests.g]\nmodule = "${DIR}/${NAME:-g}.wasm"\nfunction = "$$f"\nenv = { A = "${EMPTY:-x}", B = "5$" }\n'
    guest = read(text, DIR="/lib", EMPTY="").guests["g"]
    assert (guest.module, guest.function, guest.env) == (Path("/lib/g.wasm"), "$f", {"A": "x", "B": "5$"})


def test_reads_numbers_and_switches_out_of_the_environment(read):
    manifest = read('[server]\nport = "${PORT}"\n[engine]\npooling = "${POOL}"\n', PORT="8080", POOL="false")
    assert (manifest.server.port, manifest.engine.pooling) == (8080, False)


def test_takes_port_token_and_cache_from_the_sidecars_environment(read):
    manifest = read("", APP_PORT="6000", APP_API_TOKEN="secret", GUESTHOUSE_CACHE="/var/cache/g")
    assert manifest.server.port == 6000
    assert [token.get_secret_value() for token in manifest.server.token] == ["secret"]
    assert manifest.engine.cache == Path("/var/cache/g")


def test_prefers_the_manifest_to_the_sidecars_environment(read):
    manifest = read('[server]\nport = 1\ntoken = ["a", "b"]\n', APP_PORT="6000", APP_API_TOKEN="secret")
    assert manifest.server.port == 1
    assert [token.get_secret_value() for token in manifest.server.token] == ["a", "b"]


def test_never_shows_a_secret(read, faults):
    assert "hunter2" not in repr(read('[server]\ntoken = "hunter2"\n'))
    assert "hunter2" not in repr(read('[guests.g]\nmodule = "g"\nfunction = "f"\nenv = { KEY = "hunter2" }\n'))
    assert faults('[server]\ntoken = ["hunter2", 3]\n') == [
        "is not a token — guesthouse.toml: server.token — "
        "write one text, or a list of them while a token is being changed"
    ]
    assert faults('[server]\nport = "${SECRET}"\n', SECRET="hunter2") == [
        '"${SECRET}" is not a whole number — guesthouse.toml: server.port — write digits alone'
    ]
    assert faults('[server]\ntoken = "hunter2\\n"\n')[0].startswith("is not a token — ")
    assert faults(f'{GUEST}env = {{ KEY = "hunter2\\u0001" }}\n')[0].startswith("has a control character in it — ")
    assert faults("", APP_PORT="hunter2") == [
        "is not a whole number — $APP_PORT in the environment — write digits alone"
    ]


def test_arguments_and_environment_may_have_newlines_and_tabs(read, faults):
    guest = '[guests.g]\nmodule = "g"\ncalling = "command"\n'
    text = "-----BEGIN KEY-----\\r\\n\\tabc\\n"
    manifest = read(
        f'{guest}args = ["{text}", "${{PEM}}"]\nenv = {{ KEY = "{text}", PEM = "${{PEM}}" }}\n', PEM="a\n\tb"
    )
    known = manifest.guests["g"]
    assert known.args == ("-----BEGIN KEY-----\r\n\tabc\n", "a\n\tb")
    assert known.env == {"KEY": "-----BEGIN KEY-----\r\n\tabc\n", "PEM": "a\n\tb"}
    remedy = "write text, with newlines and tabs at most"
    for bad in ("\\u0000", "\\u001b[0m", "\\b"):
        assert faults(f'{guest}args = ["a{bad}"]\nenv = {{ KEY = "b{bad}" }}\n') == [
            fault(f'"a{bad}" has a control character in it', "guesthouse.toml: guests.g.args[0]", remedy),
            fault("has a control character in it", "guesthouse.toml: guests.g.env.KEY", remedy),
        ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("${NOPE}", ('"${NOPE}" needs $NOPE, which is not set', "", "set NOPE, or write ${NOPE:-default}")),
        ("a${", ('"a${" has ${ without a name and a closing brace', "", "write ${NAME}, or $${ for the text itself")),
        (
            "${1X}",
            ('"${1X}" has ${ without a name and a closing brace', "", "write ${NAME}, or $${ for the text itself"),
        ),
    ],
)
def test_refuses_what_it_cannot_expand_and_says_so_once(faults, text, expected):
    where = "guesthouse.toml: guests.g.limits.memory"
    guest = f'[guests.g]\nmodule = "g.wasm"\nfunction = "f"\nlimits = {{ memory = "{text}" }}\n'
    what, _, remedy = expected
    assert faults(guest) == [fault(what, where, remedy)]


# ---- files ----


def test_says_that_there_is_no_manifest(tmp_path):
    with pytest.raises(ManifestError) as caught:
        load(tmp_path / "no.toml")
    assert caught.value.faults == [
        f"there is no manifest — {tmp_path}/no.toml — "
        "write one (docs/manifest.md shows how), or name it with --manifest"
    ]


def test_says_that_a_folder_is_no_manifest(tmp_path):
    with pytest.raises(ManifestError) as caught:
        load(tmp_path)
    assert caught.value.faults == [
        f"the manifest cannot be read (Is a directory) — {tmp_path} — name a TOML file that you may read"
    ]


def test_names_the_line_of_a_syntax_error(faults):
    (fault,) = faults("[guests\n")
    assert fault.startswith("not TOML: ")
    assert fault.endswith("— guesthouse.toml: line 3, column 8 — correct it there or in the line before")


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b'[app]\nname = "\xff"', ("not UTF-8", ": line 2", "save it as UTF-8")),
        (b"a = " + b"[" * 100_000, ("not TOML that can be read", "", "write it by docs/manifest.md")),
        (b"a = " + b"9" * 10_000, ("not TOML that can be read", "", "write it by docs/manifest.md")),
        (b"#" * (4 * MiB + 1), ("over 4MiB large", "", "name the manifest, a TOML file")),
    ],
)
def test_refuses_files_that_are_no_toml(tmp_path, data, expected):
    path = tmp_path / "guesthouse.toml"
    path.write_bytes(data)
    with pytest.raises(ManifestError) as caught:
        load(path)
    what, where, remedy = expected
    assert caught.value.faults == [fault(what, f"{path}{where}", remedy)]


def test_reads_files_of_other_editors(tmp_path):
    path = tmp_path / "guesthouse.toml"
    path.write_bytes(b"\xef\xbb\xbf" + APP.replace("\n", "\r\n").encode())
    assert load(path, {}).app.name == "vision"


# ---- faults of one key ----


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "[app]\nnmae = 'x'",
            ("name is missing", "guesthouse.toml: app.name", "write the Dapr app id that this manifest is meant for"),
        ),
        ("[app]\nname = 'x'\nnmae = 'x'", ('unknown key "nmae"', "guesthouse.toml: app.nmae", "did you mean name?")),
        ("[app]\nname = 'x'\n[jobs]", ('unknown key "jobs"', "guesthouse.toml: jobs", "did you mean job?")),
        (
            "[signatures]\nkeys = ['x']\n'[key]' = 1\n[app]\nname = 'x'",
            ('unknown key "[key]"', 'guesthouse.toml: signatures."[key]"', "did you mean keys?"),
        ),
        ("[app]\nname = ''", ('"" is empty', "guesthouse.toml: app.name", "write a name, or leave the table out")),
        ("[app]\nname = 3", ("3 is a whole number, not text", "guesthouse.toml: app.name", "write text")),
        (
            '[app]\nname = "a\\nb"',
            ('"a\\nb" has a control character in it', "guesthouse.toml: app.name", "write plain text on one line"),
        ),
        ("app = 3", ("3 is a whole number, not a table", "guesthouse.toml: app", "write a table")),
        ("", ("app is missing", "guesthouse.toml: app", "write [app] with the application's name")),
    ],
)
def test_explains_a_fault_of_app(faults, text, expected):
    assert fault(*expected) in faults(text, app="")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "limits.memory = '12 apples'",
            (
                '"12 apples" is not a size',
                "limits.memory",
                "write bytes, or a number with KiB, MiB, GiB, KB, MB or GB, as in 128MiB",
            ),
        ),
        (
            "limits.memory = -1",
            (
                "-1 is not a size",
                "limits.memory",
                "write bytes, or a number with KiB, MiB, GiB, KB, MB or GB, as in 128MiB",
            ),
        ),
        ("limits.memory = '5GiB'", ('"5GiB" is too much', "limits.memory", "write at most 4GiB")),
        ("limits.memory = 1", ("1 is too little", "limits.memory", "write at least 64KiB")),
        (
            "limits.time = 5",
            ("5 is not a duration", "limits.time", "write numbers with h, m, s, ms or us, as in 5s, 200ms or 1m30s"),
        ),
        ("limits.time = '0s'", ('"0s" is too little', "limits.time", "write more than 0s")),
        ("limits.time = '25h'", ('"25h" is too much', "limits.time", "write at most 24h")),
        ("limits.concurrency = true", ("true is not a whole number", "limits.concurrency", "write digits alone")),
        ("limits.concurrency = 0", ("0 is too little", "limits.concurrency", "write at least 1")),
        ("limits.memroy = 1", ('unknown key "memroy"', "limits.memroy", "did you mean memory?")),
        ("limits = []", ("is a list, not a table", "limits", "write a table")),
        ("scale = 'yes'", ('"yes" is neither true nor false', "scale", "write true or false, without quotes")),
        (
            "sha256 = 'abc'",
            ('"abc" is not a sha256', "sha256", "write the 64 hexadecimal digits that `sha256sum FILE` prints"),
        ),
        ("image = '0.16'", ('"0.16" is not a choice', "image", 'write "0.14" or "0.15"')),
        (
            "isolation = 'container'",
            ('"container" is not a choice', "isolation", 'write "thread" or "process"'),
        ),
        (
            "reuse = 3",
            (
                'unknown key "reuse"',
                "reuse",
                (
                    "the keys here are: allow_guest_models, args, body_file, calling, config, enabled, env, files, "
                    "function, idle, image, isolation, least, limits, models, module, packages, parameters, reply, "
                    "reply_file, reply_type, runtime, scale, scratch, scratch_path, script, sha256, signature, "
                    "snapshot, takes, values, wasi_nn"
                ),
            ),
        ),
        (
            "reply = 'cgi'",
            (
                '"cgi" does not go with calling = "bindgen"',
                "reply",
                "headers before the reply are for commands: leave it out",
            ),
        ),
        (
            "values = 'xml'",
            ('"xml" is not a choice', "values", 'write "json"'),
        ),
        (
            "parameters = ['i32']",
            ("is used by nobody", "parameters", 'write values = "json" too, or leave it out'),
        ),
        (
            "values = 'json'\nparameters = ['Vec<f32>']",
            (
                '"Vec<f32>" is no type of a parameter',
                "parameters[0]",
                "write u8, i8, u16, i16, u32, i32, u64, i64, f32, f64, bool, char, String, Vec<u8>, Vec<i8>, Vec<u16>, "
                "Vec<i16>, Vec<u32>, Vec<i32>, Vec<u64> or Vec<i64>",
            ),
        ),
        (
            "calling = 'command'\nvalues = 'json'",
            (
                '"json" does not go with calling = "command"',
                "values",
                "a program has standard input and output: leave it out",
            ),
        ),
        ("env = { A = 3 }", ("is a whole number, not text", "env.A", "write text")),
        (
            "models = 'm'",
            ('"m" is text, not a list of models', "models", 'write a list, or a table { "name" = "model" }'),
        ),
        ("models = [3]", ("has a whole number in it", "models", "write names of models in quotes")),
        ("models = { a = 3 }", ("3 is a whole number, not text", "models.a", "write text")),
        (
            "models = { '' = 'm' }",
            ("not a model's name", 'models.""', "write any text on one line, without control characters"),
        ),
    ],
)
def test_explains_a_fault_of_a_guest(faults, text, expected):
    guest = f'[guests.g]\nmodule = "g.wasm"\nfunction = "f"\n{text}\n'
    what, where, remedy = expected
    assert fault(what, f"guesthouse.toml: guests.g.{where}", remedy) in faults(guest)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "[engine]\nname = 'wasm3'",
            ('"wasm3" is not a choice', "guesthouse.toml: engine.name", 'write "wasmtime" or "wasmer"'),
        ),
        (
            "[engine]\npython = 'python3.10'",
            (
                '"python3.10" is for wasmer alone',
                "guesthouse.toml: engine.python",
                'write name = "wasmer", or leave it out',
            ),
        ),
        ("[server]\nport = 65536", ("65536 is too much", "guesthouse.toml: server.port", "write at most 65535")),
        (
            "[server]\ntls = { key = 'k' }",
            ("certificate is missing", "guesthouse.toml: server.tls.certificate", "write the certificate chain, PEM"),
        ),
        (
            "[server]\ndrain.limit = 20",
            (
                "20 is not a duration",
                "guesthouse.toml: server.drain.limit",
                "write numbers with h, m, s, ms or us, as in 5s, 200ms or 1m30s",
            ),
        ),
        (
            "[guests.'bad name']\nmodule = 'm'\nfunction = 'f'",
            ("not a name", 'guesthouse.toml: guests."bad name"', "use letters, digits, _ and -"),
        ),
        (
            "[models.m]\npath = ''",
            (
                '"" is not a path',
                "guesthouse.toml: models.m.path",
                "write the path of a file, from the manifest's folder",
            ),
        ),
        ("[models.m]\npath = 4", ("4 is a whole number, not a path", "guesthouse.toml: models.m.path", "write a path")),
        (
            "[models.m]\npath = 'm'\nthreads = 0",
            (
                '0 is neither "auto" nor a number of threads',
                "guesthouse.toml: models.m.threads",
                'write "auto", or a number from 1 to 256',
            ),
        ),
        (
            "[models.m]\npath = 'm'\nbatch = {}",
            ("size is missing", "guesthouse.toml: models.m.batch.size", "write the most rows of one run"),
        ),
        (
            "[models.m]\npath = 'm'\nbatch = true",
            ("true is true or false, not a table", "guesthouse.toml: models.m.batch", "write a table"),
        ),
        (
            "[models.m]\npath = 'm'\nstands_for = ['x']",
            (
                '"x" is not a sha256',
                "guesthouse.toml: models.m.stands_for[0]",
                "write the 64 hexadecimal digits that `sha256sum FILE` prints",
            ),
        ),
        (
            "[invoke]\nmethod = 'm'",
            ("is a table, not a list of tables", "guesthouse.toml: invoke", "write [[invoke]], with two brackets"),
        ),
        (
            "[[invoke]]\nmethod = '/'\nguest = 'echo'",
            ('"/" is empty', "guesthouse.toml: [[invoke]] #1: method", "write a name, or leave the table out"),
        ),
        (
            "[[invoke]]\nmethod = 'm'\nguest = 'echo'\nverbs = ['GET', 'FETCH']",
            (
                '"FETCH" is not an HTTP verb',
                "guesthouse.toml: [[invoke]] #1: verbs[1]",
                "use GET, HEAD, POST, PUT, DELETE, CONNECT, OPTIONS, TRACE, PATCH",
            ),
        ),
        (
            "[[invoke]]\nmethod = 'm'\nguest = 'echo'\nverbs = []",
            (
                "is empty",
                "guesthouse.toml: [[invoke]] #1: verbs",
                "name the verbs that are answered, or leave it out for the usual ones",
            ),
        ),
        (
            "[[binding]]\nname = 'b'\nguest = 'echo'\nto = []",
            (
                "is empty",
                "guesthouse.toml: [[binding]] #1: to",
                "name the output bindings that receive the reply, or leave it out",
            ),
        ),
        (
            "[[binding]]\nname = 'b'\nguest = 'echo'\nstate = { store = 's' }",
            ("key is missing", "guesthouse.toml: [[binding]] #1: state.key", "write the key"),
        ),
        (
            "[[binding]]\nname = 'b'\nguest = 'echo'\non_error = 'ignore'",
            ('"ignore" is not a choice', "guesthouse.toml: [[binding]] #1: on_error", 'write "retry" or "drop"'),
        ),
        (
            "[[topic]]\npubsub = 'p'\ntopic = 't'\nguest = 'echo'\nroute = { match = 'event.id == \"x\"' }",
            (
                "path is missing",
                "guesthouse.toml: [[topic]] #1: route.path",
                "write the path under which the sidecar delivers them",
            ),
        ),
    ],
)
def test_explains_a_fault_elsewhere(faults, text, expected):
    assert faults(GUEST + text) == [fault(*expected)]


# ---- faults between keys ----


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "[guests.g]\nmodule = 'g'",
            (
                "function is missing",
                "guesthouse.toml: guests.g.function",
                'name the export to call, or write calling = "command" for a WASI program',
            ),
        ),
        (
            "[guests.g]\nmodule = 'g'\ncalling = 'command'\nfunction = 'f'",
            (
                '"f" does not go with calling = "command"',
                "guesthouse.toml: guests.g.function",
                "a command starts at _start: leave it out",
            ),
        ),
        (
            "[guests.g]\nmodule = 'g'\ncalling = 'extism'",
            (
                "function is missing",
                "guesthouse.toml: guests.g.function",
                'name the export to call, or write calling = "command" for a WASI program',
            ),
        ),
        (
            "[guests.g]\nmodule = 'g'\ncalling = 'extism'\nfunction = 'f'\nvalues = 'json'",
            (
                '"json" does not go with calling = "extism"',
                "guesthouse.toml: guests.g.values",
                "its input is the body, and its output the reply: leave it out",
            ),
        ),
        (
            "[guests.g]\nmodule = 'g'\ncalling = 'http-wasm'\nfunction = 'f'",
            (
                '"f" does not go with calling = "http-wasm"',
                "guesthouse.toml: guests.g.function",
                "its two handlers have names of their own, and write the response themselves: leave it out",
            ),
        ),
        (
            "[guests.g]\nmodule = 'g'\ncalling = 'wapc'\nfunction = 'validate'\nreply = 'cgi'",
            (
                '"cgi" does not go with calling = "wapc"',
                "guesthouse.toml: guests.g.reply",
                "the payload is the body, and the response is the reply: leave it out",
            ),
        ),
        (
            "[guests.g]\nmodule = 'g'\nfunction = 'f'\nargs = ['a']",
            (
                'does not go with calling = "bindgen"',
                "guesthouse.toml: guests.g.args",
                "arguments are for commands: leave it out",
            ),
        ),
        (
            "[guests.g]\nmodule = 'g'\nfunction = 'f'\nmodels = ['m']",
            ('"m" is no model of this manifest', "guesthouse.toml: guests.g.models[0]", "there are no models here"),
        ),
        (
            "[[binding]]\nname = 'b'\nguest = 'echo'\nattempts = 3\non_error = 'drop'",
            (
                '3 does not go with on_error = "drop"',
                "guesthouse.toml: [[binding]] #1: attempts",
                'leave attempts out, or write on_error = "retry"',
            ),
        ),
        (
            "[[binding]]\nname = 'b'\nguest = 'echo'\ndead_letter = 'failed'",
            (
                '"failed" is never used without attempts',
                "guesthouse.toml: [[binding]] #1: dead_letter",
                "say after how many attempts an event is given up",
            ),
        ),
        (
            "[models.photo]\npath = 'm'\n[guests.g]\nmodule = 'g'\nfunction = 'f'\nmodels = ['phto']",
            ('"phto" is no model of this manifest', "guesthouse.toml: guests.g.models[0]", "did you mean photo?"),
        ),
        (
            "[models.photo]\npath = 'm'\n[guests.g]\nmodule = 'g'\nfunction = 'f'\nmodels = {'a.b' = 'phto'}",
            ('"phto" is no model of this manifest', 'guesthouse.toml: guests.g.models."a.b"', "did you mean photo?"),
        ),
        (
            "[models.m]\npath = 'm'\nbatch.size = 64\nmax_batch = 32",
            (
                "64 is over max_batch, which is 32",
                "guesthouse.toml: models.m.batch.size",
                "raise max_batch or lower it",
            ),
        ),
        (
            "[[job]]\nname = 'j'\nguest = 'ehco'",
            ('"ehco" is no guest of this manifest', "guesthouse.toml: [[job]] #1: guest", "did you mean echo?"),
        ),
        (
            "[[job]]\nname = 'j'\nguest = 'x'",
            ('"x" is no guest of this manifest', "guesthouse.toml: [[job]] #1: guest", "its guests: echo"),
        ),
    ],
)
def test_explains_tables_that_do_not_agree(faults, text, expected):
    assert faults(GUEST + text) == [fault(*expected)]


@pytest.mark.parametrize(
    ("table", "one", "other", "expected"),
    [
        (
            "invoke",
            "method = 'm'",
            "method = '/m'",
            ('"/m" is answered by [[invoke]] #1 already', "method", "one guest answers a method and verb"),
        ),
        (
            "invoke",
            "method = 'm'",
            "method = 'm'\nverbs = ['GET']",
            ('"m" is answered by [[invoke]] #1 already', "method", "one guest answers a method and verb"),
        ),
        (
            "invoke",
            "method = 'm'\nverbs = ['get', 'PUT']",
            "method = 'm'\nverbs = ['GET']",
            ('"m" is answered by [[invoke]] #1 already', "method", "one guest answers a method and verb"),
        ),
        (
            "binding",
            "name = 'b'",
            "name = 'b'",
            ('"b" is answered by [[binding]] #1 already', "name", "one guest answers it"),
        ),
        ("job", "name = 'j'", "name = 'j'", ('"j" is answered by [[job]] #1 already', "name", "one guest answers it")),
        (
            "topic",
            "pubsub = 'p'\ntopic = 't'",
            "pubsub = 'p'\ntopic = 't'",
            ('"t" is answered by [[topic]] #1 already', "topic", "give each table of a topic a route of its own"),
        ),
        (
            "topic",
            "pubsub = 'p'\ntopic = 't'\nroute = { path = '/a' }",
            "pubsub = 'p'\ntopic = 't'\nroute = { match = 'true', path = '/a' }",
            ('"/a" is answered by [[topic]] #1 already', "route.path", "give each route its own path"),
        ),
        (
            "topic",
            "pubsub = 'p'\ntopic = 't'\nroute = { match = 'true', path = '/a' }",
            "pubsub = 'p'\ntopic = 't'\nroute = { match = 'true', path = '/b' }",
            (
                '"true" is answered by [[topic]] #1 already',
                "route.match",
                "give each table of a topic a route of its own",
            ),
        ),
    ],
)
def test_refuses_two_answers_to_one_event(faults, table, one, other, expected):
    text = "".join(f"[[{table}]]\nguest = 'echo'\n{route}\n" for route in (one, other))
    what, where, remedy = expected
    assert faults(GUEST + text) == [fault(what, f"guesthouse.toml: [[{table}]] #2: {where}", remedy)]


def test_refuses_a_digest_that_stands_for_two_models(faults):
    models = "".join(f'[models.{name}]\npath = "m"\nstands_for = ["{DIGEST}"]\n' for name in "ab")
    assert faults(models) == [
        f'"{DIGEST[:58]}… is also in models.a.stands_for — guesthouse.toml: models.b.stands_for[0] — '
        "keep it at one of them"
    ]


def test_tells_all_faults_at_once(faults):
    text = """
        [server]
        prot = 1
        [models.m]
        path = "m"
        sha256 = "abc"
        [guests.g]
        module = 4
        models = ["n"]
        limits = { memory = "lots", time = "long" }
        [[invoke]]
        method = "m"
        guest = "h"
        [[invoke]]
        method = "m"
        guest = "g"
        """
    where = [fault.split(" — ")[1].removeprefix("guesthouse.toml: ") for fault in faults(text)]
    assert sorted(where) == [
        "[[invoke]] #1: guest",
        "[[invoke]] #2: method",
        "guests.g.function",
        "guests.g.limits.memory",
        "guests.g.limits.time",
        "guests.g.models[0]",
        "guests.g.module",
        "models.m.sha256",
        "server.prot",
    ]


def test_shows_hostile_text_without_obeying_it(faults):
    (fault,) = faults('"\\u001b[2J\\u202e" = 3\n', app="[app]\nname = 'x'\n")
    assert "\\u001b[2J\\u202e" in fault
    assert fault.isprintable()


def test_a_match_that_a_sidecar_cannot_use_is_refused(faults):
    topic = GUEST + '[[topic]]\npubsub = "p"\ntopic = "t"\nguest = "echo"\nroute = {{ match = {}, path = "x" }}\n'
    (wrong,) = faults(topic.format("""'event.type = "photo"'"""))
    assert wrong.startswith('"event.type = \\"photo\\"" is not CEL: nothing may follow like')
    assert " — guesthouse.toml: [[topic]] #1: route.match — two values are compared with ==" in wrong
    (unknown,) = faults(topic.format("\"lower(event.type) == 'x'\""))
    assert "calls the function lower(), which CEL does not have" in unknown
