"""The command line: what each command prints and writes, and every error in one line."""

import ast
import re
from pathlib import Path

import pytest
import torch
from torch import nn

import snnkit
from snnkit.cli import app, main
from snnkit.cli.evaluate import check_input
from snnkit.cli.sequences import encoder
from snnkit.errors import RecipeError
from snnkit.neuron import FAMILIES
from snnkit.synapse.delayed import METHODS, costs

RECIPE = """
[data]
name = "digits"
encoder = "latency"
steps = 6

[network]
rate = 0.1
layers = [
    {type = "Flatten"},
    {type = "Linear", in = 64, out = 16, bias = false},
    {type = "LIF", tau = 10.0, input_decay = false},
    {type = "Linear", in = 16, out = 10},
    {type = "Readout", tau = 10.0},
]

[train]
epochs = 1
lr = 0.02
"""


@pytest.fixture
def call(capsys, monkeypatch, tmp_path):
    """Return a function that runs `snnkit *words` in an empty folder and returns exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "160")

    def run(*words):
        with pytest.raises(SystemExit) as ended:
            main(words)
        code = ended.value.code
        if isinstance(code, str):
            return 1, capsys.readouterr().out, code
        return code or 0, *capsys.readouterr()

    return run


@pytest.fixture
def recipe(tmp_path):
    """Return a function that writes a recipe, with a part of its text replaced, and returns its path."""

    def write(old="", new=""):
        assert old in RECIPE
        path = tmp_path / "recipe.toml"
        path.write_text(RECIPE.replace(old, new))
        return str(path)

    return write


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["neuron", "liff"], r"no neuron 'liff'; did you mean 'lif'\?"),
        (["neuron", "LIF", "--reset", "firm"], r"--reset is soft or hard, not 'firm'"),
        (["neuron", "Izhikevich", "--reset", "soft"], r"Izhikevich has one kind of reset only"),
        (["neuron", "LIF", "--kernel", "gpu"], r"no kernel 'gpu'.*known: reference, cpu, cuda"),
        (["data", "show", "digit"], r"no data set 'digit'; did you mean 'digits'\?"),
        (["evaluate", "absent.h5"], r"no file absent\.h5"),
        (["doctor", "absent.h5"], r"no file absent\.h5"),
        (["train", "absent.toml"], r"cannot read absent\.toml"),
    ],
)
def test_an_error_is_one_line_and_exit_code_1(call, words, message):
    code, out, error = call(*words)
    assert code == 1
    assert re.search(rf"^snnkit: .*{message}", error)
    assert "\n" not in error.strip()
    assert "Traceback" not in out + error


@pytest.mark.parametrize("words", [["frob"], ["demo", "--seeds", "0"], ["neuron", "--frob"], ["evaluate"]])
def test_a_wrong_call_is_exit_code_2(call, words):
    code, _, error = call(*words)
    assert code == 2
    assert "Usage: snnkit" in error


@pytest.mark.parametrize("words", [["--debug", "neuron", "liff"], ["neuron", "liff", "--debug"]])
def test_debug_shows_where_an_error_comes_from(words):
    with pytest.raises(snnkit.SnnkitError, match="no neuron 'liff'"):
        main(words)


def test_tracebacks_reach_the_terminal_with_debug_alone(run_python):
    plain = run_python("-m", "snnkit", "data", "show", "nope")
    assert plain.returncode == 1
    assert plain.stderr.startswith("snnkit: no data set 'nope'")
    assert plain.stderr.count("\n") == 1
    debug = run_python("-m", "snnkit", "--debug", "data", "show", "nope")
    assert debug.returncode == 1
    assert "Traceback" in debug.stderr


def test_an_unexpected_error_is_one_line_too(call, monkeypatch):
    def fail(name):
        raise RuntimeError("first\nsecond")

    monkeypatch.setattr("snnkit.cli.data.show_card", fail)
    code, _, error = call("data", "show", "digits")
    assert code == 1
    assert error == "snnkit: unexpected RuntimeError: first second; add --debug to see where"


def test_an_error_of_the_system_names_its_file(call, monkeypatch):
    def fail(name):
        Path("absent/file").read_text()

    monkeypatch.setattr("snnkit.cli.data.show_card", fail)
    assert call("data", "show", "digits")[2] == "snnkit: absent/file: No such file or directory"


def test_layers_that_do_not_fit_are_named(call, recipe):
    code, _, error = call("train", recipe("in = 16, out = 10", "in = 17, out = 10"))
    assert code == 1
    assert re.search(r"refuse inputs of \[1, 8, 8\] per step and sample: .*in layer '3' \(Linear\), whose input", error)
    assert "Flatten" not in error
    code, _, error = call("train", recipe('{type = "Flatten"},'))
    assert re.search(r"in layer '0' \(Linear\).*a first layer Flatten makes 64 features of them", error)


def test_looking_at_a_network_does_not_change_it():
    net = snnkit.Network(nn.BatchNorm1d(3), nn.Dropout(0.5), nn.Linear(3, 2), snnkit.Readout())
    x, before = torch.rand(1, 5, 3), {name: value.clone() for name, value in net.state_dict().items()}
    state = torch.get_rng_state()
    assert check_input(net, x).shape == (1, 1, 2)
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    assert net.training and torch.equal(state, torch.get_rng_state())


def test_what_could_not_be_stored_is_not_trained(call, recipe, monkeypatch):
    monkeypatch.setattr("snnkit.cli.train.fit", lambda *_, **__: pytest.fail("trained for nothing"))
    wide = '{type = "Unflatten", dim = 1, unflattened_size = [1, 16]}, '
    wide += '{type = "MaxPool1d", kernel_size = 1, dilation = 100000}, {type = "Flatten"}, {type = "LIF",'
    code, _, error = call("train", recipe('{type = "LIF",', wide))
    assert code == 1
    assert re.search(r"this network cannot be saved: layer 3: dilation is 100000", error)


def test_an_interrupted_run_says_how_to_go_on(call, recipe, monkeypatch):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("snnkit.cli.train.fit", stop)
    code, out, _ = call("train", recipe())
    assert code == 130
    assert "stopped; the same command with --resume goes on from the last checkpoint" in out


def test_the_next_command_can_be_pasted(call, recipe):
    spiking_end = '{type = "Network", layers = [{type = "LIF"}]}'
    path = recipe('{type = "Readout", tau = 10.0}', spiking_end)
    Path(path).write_text(Path(path).read_text() + 'loss = "first_spike"\n')
    code, out, error = call("train", path, "--folder", "two words")
    assert code == 0, error
    assert "next: snnkit evaluate 'two words/net.h5'" in out


def test_version_and_help(call):
    assert call("--version")[:2] == (0, f"{snnkit.__version__}\n")
    code, out, _ = call("--help")
    assert code == 0
    for command in ("demo", "train", "evaluate", "doctor", "bench", "neuron", "data"):
        assert command in out


def test_the_catalogue_lists_every_neuron(call):
    _, out, _ = call("neuron")
    assert all(name in out for name in FAMILIES)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_neuron_shows_its_equations_parameters_and_source(call, name):
    made = FAMILIES[name]()
    code, out, _ = call("neuron", name)
    assert code == 0
    assert made.reference in out
    for line in (*made.update, *made.reset, *made.params):
        assert line in out


def test_a_hard_reset_is_shown_where_asked_for(call):
    assert "v_reset" in call("neuron", "lif", "--reset", "hard")[1]
    assert "v_reset" not in call("neuron", "lif")[1]


@pytest.mark.parametrize("backward", [[], ["--backward"]])
@pytest.mark.parametrize("name", ["LIF", "Izhikevich", "Readout"])
def test_kernels_are_printed_as_source_and_nothing_else(call, name, backward):
    word = "backward" if backward else "forward"
    _, cpu, _ = call("neuron", name, "--kernel", "cpu", *backward)
    assert any(isinstance(node, ast.FunctionDef) and node.name == word for node in ast.parse(cpu).body)
    _, cuda, _ = call("neuron", name, "--kernel", "cuda", *backward)
    assert cuda.startswith("// generated by snnkit")
    assert word in cuda


def test_the_reference_is_shown_as_it_is(call):
    assert "def forward(" in call("neuron", "LIF", "--kernel", "reference")[1]


def test_doctor_says_what_is_missing_and_how_to_get_it(call, monkeypatch):
    import importlib.util

    find = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *a: None if name == "nir" else find(name, *a))
    code, out, _ = call("doctor")
    assert code == 0
    assert re.search(r"nir +missing +interchange +pip install 'snnkit\[nir\]'", out)
    assert re.search(rf"torch +{re.escape(torch.__version__)}", out)
    assert re.search(r"float32 on cpu +cpu +fused numba kernels", out)
    for fact in ("machine", "Python", "threads", "huge pages", "compiled kernels", "data root"):
        assert fact in out


def test_doctor_says_what_runs_each_layer_and_why(call, tmp_path):
    net = snnkit.Network(nn.Linear(2, 3), snnkit.LIF(backend="reference"), nn.Linear(3, 2), snnkit.LIF(backend="cuda"))
    snnkit.save(net, tmp_path / "net.h5")
    _, out, _ = call("doctor", "net.h5")
    assert re.search(r"0 +Linear +torch", out)
    assert re.search(r"1 +lif +reference +asked for", out)
    if not torch.cuda.is_available():
        assert re.search(r"3 +lif +cannot run +backend 'cuda' cannot run on cpu tensors", out)


def test_doctor_says_which_method_computes_delays_and_what_each_costs(call, tmp_path):
    made = snnkit.DelayLinear(64, 96, max_delay=20)
    linear = snnkit.DelayLinear(96, 20, max_delay=9, kernel="linear", kind="axonal", backend="conv")
    loop = snnkit.Recurrent(snnkit.LIF(), snnkit.DelayLinear(20, 20, max_delay=9, learn=False, backend="events"))
    snnkit.save(snnkit.Network(made, snnkit.LIF(), linear, loop, snnkit.Readout()), tmp_path / "net.h5")
    code, out, _ = call("doctor", "net.h5", "--batch", "32", "--steps", "50")
    assert code == 0
    assert re.search(r"0 +DelayLinear +auto +a method for each situation", out)
    assert "estimated ms on one " in out and "batch 32, 50 steps, 8% of inputs firing" in out
    rows = {row[0]: row for row in map(re.compile(r" {2,}").split, out.splitlines()) if len(row) > 7}
    assert rows["0"][1:3] == ["64 to 96, 0..20", "training, sigma 10"]
    for phase in (r"training, sigma 10", r"training, sigma 0\.23", "evaluating"):
        assert re.search(rf"{phase} +({'|'.join(METHODS)}) +({'|'.join(METHODS)}) takes [\d.]+x", out)
    assert rows["2"][2:5] == ["training", "conv", "asked for"]
    assert rows["3.connection"][1:4] == ["20 to 20, 0..9, step by step", "training", "cannot run"]
    assert "asked for, but events does not apply" in out
    if not torch.cuda.is_available():
        assert re.search(r"evaluating +events +asked for +[\d.]+", out)
    for line in ("– fir: it needs kernel='gauss'", "– events: it needs spikes of 0 and 1"):
        assert line in out


def test_doctor_estimates_what_the_layer_would_compute(monkeypatch):
    from snnkit.cli import doctor_delays

    layer = snnkit.DelayConv2d(2, 8, 3, padding=1, max_delay=6, kernel="integer")
    before = {key: value.clone() for key, value in layer.state_dict().items()}
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    table = doctor_delays.table(snnkit.Network(layer), "net", batch=4, steps=10)
    with torch.no_grad():
        spikes = (torch.rand(10, 4, 2, 1, 1) < doctor_delays.ACTIVITY).float()
        expected = costs(layer.eval().problem(spikes))
    cells = {column.header: list(column.cells) for column in table.columns}
    assert cells["while"] == ["training", "evaluating"]
    assert cells["sizes, delays"][0] == "2 to 8, 0..6, for one place"
    for name, seconds in expected.items():
        if name != "events":
            assert float(cells[name][1]) == pytest.approx(1e3 * seconds, rel=0.01)
    assert cells["events"][0] == cells["fir"][1] == "–"
    assert all(torch.equal(value, before[key]) for key, value in layer.state_dict().items())
    assert doctor_delays.table(snnkit.Network(nn.Linear(2, 2)), "net", batch=4, steps=10) is None


def test_data_sets_are_listed_and_shown(call):
    assert re.search(r"digits +Optical recognition .* CC BY 4\.0", call("data", "list")[1])
    assert 'licence = "CC BY 4.0"' in call("data", "show", "digits")[1]


def test_a_recipe_is_trained_stored_resumed_and_evaluated(call, recipe, tmp_path):
    path = recipe()
    code, out, error = call("train", path, "--folder", "run")
    assert code == 0, error
    assert re.search(r"validation accuracy \d+\.\d+%", out)
    for name in ("net.h5", "results.h5", "history.csv", "checkpoints"):
        assert (tmp_path / "run" / name).exists()
    code, _, error = call("train", path, "--folder", "run")
    assert code == 1
    assert "resume" in error
    assert call("train", path, "--folder", "run", "--resume")[0] == 0
    code, out, error = call("evaluate", "run/net.h5")
    assert code == 0, error
    assert re.search(r"samples +359", out)
    assert re.search(r"spikes per sample +\d", out)
    _, validation, _ = call("evaluate", "run/net.h5", "--split", "validation")
    stored = snnkit.files.load_results(tmp_path / "run" / "results.h5")["validation_accuracy"]
    assert f"{stored:.2%}" in validation
    code, _, error = call("evaluate", "run/net.h5", "--split", "tset")
    assert code == 1
    assert "no split 'tset'; did you mean 'test'?" in error


def test_a_network_without_notes_needs_its_data_named(call, tmp_path):
    snnkit.save(snnkit.Network(nn.Flatten(), nn.Linear(64, 10), snnkit.Readout()), tmp_path / "net.h5")
    code, _, error = call("evaluate", "net.h5")
    assert code == 1
    assert "does not say what it was trained on; name it with --data" in error
    assert call("evaluate", "net.h5", "--data", "digits")[0] == 0
    snnkit.save(snnkit.Network(nn.Linear(64, 10), snnkit.Readout()), tmp_path / "net.h5")
    code, _, error = call("evaluate", "net.h5", "--data", "digits")
    assert code == 1
    assert "refuse inputs of [1, 8, 8]" in error


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("epochs = 1", "epoch = 1", r"\[train\] has no key 'epoch'; did you mean 'epochs'\?"),
        ('"latency"', '"latnecy"', r"no encoder 'latnecy'; did you mean 'latency'; known"),
        ("steps = 6", "steps = 6\noptions = {tua = 2.0}", r"encoder latency has no option 'tua'; did you mean 'tau'\?"),
        (
            "steps = 6",
            "steps = 6\noptions = {tau = 'a'}",
            r"encoder latency refuses options {tau = \"a\"}: '<' not supp",
        ),
        ('    {type = "Flatten"},\n', "", r"refuse inputs of \[1, 8, 8\].*a first layer Flatten makes 64 features"),
        ("rate = 0.1", "rate = 0", r"\[network\] rate is 0\.0; needed is above 0"),
        ('"digits"', '"digit"', r"no data set 'digit'; did you mean 'digits'\?"),
        ('"latency"', '"poisson"', r"no encoder 'poisson'; did you mean 'rate'; known: constant, rate, latency, pop"),
        ("out = 10}", "out = 9}", r"answer with \[9\] per step and sample and digits has 10 classes; needed is \[10\]"),
        ("out = 10}", "out = 12}", r"answer with \[12\] .*: type out = 10 in the last layer with weights"),
        ("epochs = 1", 'epochs = 1\nloss = "first_spike"', r"first_spike reads spikes, and the last layer .* has none"),
        (
            '{type = "LIF", tau = 10.0, input_decay = false}',
            '{type = "ReLU"}',
            r"rate is 0.1 and no layer with weights",
        ),
    ],
)
def test_a_recipe_that_does_not_hold_together_is_one_clear_line(call, recipe, old, new, message):
    code, _, error = call("train", recipe(old, new))
    assert code == 1
    assert re.search(message, error), error


def test_an_encoder_without_options_says_so():
    with pytest.raises(RecipeError, match="encoder constant has no option 'tau'; it takes none"):
        encoder("constant", 4, {"tau": 2.0})


def test_encoders_of_recipes_draw_from_the_generator_that_they_get():
    images = torch.rand(2, 1, 8, 8)
    code = encoder("rate", 5, {})
    first, second = (code(images, torch.Generator().manual_seed(3)) for _ in range(2))
    assert first.shape == (5, 2, 1, 8, 8)
    assert torch.equal(first, second)
    assert encoder("population", 5, {"neurons": 3})(images, torch.Generator()).shape == (5, 2, 1, 8, 8, 3)


def test_the_recipe_of_the_examples_is_whole(checkout):
    for path in (checkout / "examples" / "recipes").glob("*.toml"):
        read = snnkit.train.read_recipe(path)
        snnkit.train.build_network(read.network)
        encoder(read.data.encoder, read.data.steps, read.data.options)


def test_every_command_says_what_it_does():
    for command in (*app.app.registered_commands, *app.data_app.registered_commands):
        assert command.callback is not None and command.callback.__doc__
