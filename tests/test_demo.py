"""The main job trains, measures, prints and writes; a new section needs one line."""

import csv
import dataclasses
import re

import pytest
import torch
from test_report_figures import check_alone

import snnkit
from snnkit.cli.demo import command, job, output
from snnkit.cli.demo.plan import Delays, Plan, plan
from snnkit.cli.demo.section import NETWORKS, Demo, Row, Section
from snnkit.cli.demo.sections import SECTIONS
from snnkit.errors import FileError
from snnkit.files import load_results
from snnkit.report import page

COMMAND = "snnkit demo --seeds 2 --quick"

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Return the demo of two seeds, its folder, and what it printed."""
    import contextlib
    import io

    folder = tmp_path_factory.mktemp("demo")
    text = io.StringIO()
    with contextlib.redirect_stdout(text):
        found = command.demo(seeds=2, quick=True, out=folder / "out")
    return found, folder / "out", text.getvalue()


def test_the_table_compares_the_networks(finished):
    _, _, text = finished
    share, number = r" +9\d\.\d( ± \d\.\d)?%", r" +[\d,.]+( ± [\d,.]+)?"
    assert re.search(r" SNN +SNN with delays +ANN\b", text)
    assert re.search(rf"test accuracy{share}{share}{share}", text)
    assert re.search(r"parameters +14,208 +14,208 +14,208\b", text)
    assert re.search(rf"accumulates per digit{number}{number} +0\b", text)
    assert re.search(r"multiply-accumulates per digit +0 +0 +14,208\b", text)
    assert re.search(rf"energy per digit, estimated{number} nJ{number} nJ{number} nJ", text)
    assert re.search(r"delays learnt +– +7,104 +–", text)
    assert re.search(rf"test accuracy on the chip, 8-bit weights +–{share} +–", text)
    assert re.search(r"cores of Loihi 2 +– +[12] +–", text)
    assert "energy on the chip: estimate, loihi1 native (simulated: accumulate 23.6 pJ" in text
    assert re.search(r"chip: (not compared with Lava: there is|compared with Lava on 20 test digits: )", text)
    assert "energy: estimate, cmos45 fp32 (estimated: accumulate 0.9 pJ, multiply_accumulate 4.6 pJ" in text
    assert "mean ± standard deviation of 2 seeds" in text


def test_a_quick_run_says_that_it_is_one(finished):
    found, folder, text = finished
    assert "quick: 3 epochs, so the figures are below what the full demo reaches" in text
    assert "This was a quick run of 3 epochs" in (folder / "report.html").read_text()
    assert found.plan.epochs == 3 < Plan().epochs


def test_files_are_written_and_named(finished):
    _, folder, text = finished
    names = sorted(path.name for path in folder.iterdir())
    assert names == ["delays.h5", "network.h5", "report.html", "results.csv", "results.h5"]
    for name in names:
        assert f"wrote {folder / name}" in text


@pytest.mark.parametrize(("file", "name"), [("network.h5", "snn"), ("delays.h5", "delays")])
def test_a_stored_network_is_the_one_that_was_measured(finished, file, name):
    found, folder, _ = finished
    net = snnkit.load(folder / file).eval()
    run = found.runs[0]
    with torch.no_grad():
        named = net(run.spikes(run.data.test.images)).mean(0).argmax(-1)
    right = (named == run.data.test.labels).double().mean().item()
    assert right == pytest.approx(found.results[0]["summary"][name]["accuracy"])


@pytest.mark.parametrize(("file", "name"), [("network.h5", "snn"), ("delays.h5", "delays")])
def test_a_stored_network_is_evaluated_by_the_command(finished, capsys, file, name):
    from snnkit.cli.evaluate import evaluate

    found, folder, _ = finished
    evaluate(folder / file, data=None, split="test", root=None)
    assert f"{found.results[0]['summary'][name]['accuracy']:.2%}" in capsys.readouterr().out


def test_delays_are_learnt_and_kept_as_they_were_before(finished):
    found, folder, _ = finished
    longest = found.plan.delays.longest
    stored = load_results(folder / "results.h5")["seed_0"]["delays"]
    net = snnkit.load(folder / "delays.h5")
    fresh = job.delay_network(found.plan, found.runs[0].spikes(found.runs[0].data.train.images[:256]), seed=0)
    for name, layer in stored["layers"].items():
        before, after = torch.from_numpy(layer["before"]), torch.from_numpy(layer["after"])
        assert torch.equal(before, fresh.get_parameter(f"{name}.delay").detach()[..., 0])
        assert torch.equal(after, net.get_parameter(f"{name}.delay").detach()[..., 0])
        assert before.min() >= 0 and after.min() >= 0 and max(before.max(), after.max()) <= longest
        assert (after - before).abs().mean() > 0.1
    assert stored["delays"]["count"] == sum(layer["after"].size for layer in stored["layers"].values())
    assert stored["sigma"][0] == net.get_submodule("1").widest and stored["sigma"][-1] == 0.23


def test_the_example_shows_a_neuron_that_fires(finished):
    found, _, _ = finished
    example = found.results[0]["delays"]["example"]
    layer = found.runs[0].delays.net[1]
    assert torch.equal(example["weight"], layer.weight.detach()[example["neuron"], :, 0])
    assert torch.equal(example["delay"], layer.rounded()[example["neuron"], :, 0])
    spikes = found.runs[0].delays.net.record(example["input"].reshape(-1, 1, 1, 8, 8), ["2"])["2"][:, 0].sum(0)
    assert spikes[example["neuron"]] == spikes.max() > 0


def test_the_chip_answers_as_the_network_does(finished):
    _, folder, _ = finished
    for seed in range(2):
        stored = load_results(folder / "results.h5")[f"seed_{seed}"]
        chip, accuracy = stored["chip"]["delays"], stored["summary"]["delays"]["accuracy"]
        assert abs(chip["accuracy_8"] - accuracy) < 0.01
        assert abs(chip["accuracy_6"] - accuracy) < 0.03
        assert chip["alike"] > 0.95
        assert 0 < chip["joules_int8"] < chip["joules"]
        assert stored["chip"]["ann"]["joules_int8"] > 0
        assert list(stored["chip"]["layers"]) == ["2", "4"]
        assert stored["chip"]["lava"].get("mismatches", 0) == 0
    assert "compared for the first seed only" in stored["chip"]["lava"]["said"]


def test_without_lava_the_demo_says_how_to_get_it(finished, monkeypatch, tmp_path):
    from snnkit.cli.demo.sections import chip

    found, _, _ = finished
    monkeypatch.setenv("SNNKIT_LAVA", str(tmp_path / "none"))
    said = chip.compute(found.runs[0])["lava"]["said"]
    assert re.search(r"not compared with Lava: there is no Lava environment in .*none; build it with", said)


def test_every_seed_is_in_the_results(finished):
    found, folder, _ = finished
    stored = load_results(folder / "results.h5")
    assert list(stored) == ["seed_0", "seed_1"]
    for seed, result in zip(stored.values(), found.results, strict=True):
        assert list(seed) == [section.key for section in SECTIONS]
        assert seed["summary"]["snn"]["accuracy"] == result["summary"]["snn"]["accuracy"]
        assert seed["errors"]["snn"]["confusion"].sum() == 359
        assert len(seed["learning"]["snn"]["validation_accuracy"]) == 3
    with open(folder / "results.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["seed"], row["network"]) for row in rows] == [(seed, name) for seed in "01" for name in NETWORKS]
    assert all(float(row["accuracy"]) > 0.9 for row in rows)
    assert rows[0]["spikes"] != "" and rows[2]["spikes"] == ""
    assert rows[0]["count"] == "" and rows[1]["count"] == "7104"


def test_the_report_stands_alone_and_has_every_section(finished):
    found, folder, _ = finished
    text = (folder / "report.html").read_text()
    parsed = check_alone(text)
    assert {section.key for section in SECTIONS} <= set(parsed.ids)
    for section in SECTIONS:
        assert section.title in parsed.headings
    assert text.count("<svg") == text.count('role="img" aria-label="') >= 17
    assert 'aria-label=""' not in text
    for said in (COMMAND, snnkit.__version__, torch.__version__, "CC BY 4.0", "Horowitz 2014", "Alpaydin"):
        assert said in text, said
    assert f"{found.mean('summary', 'snn', 'accuracy'):.1%}" in text
    assert len(text) < 1_000_000


def test_a_new_section_is_one_entry(finished, tmp_path):
    found, _, _ = finished
    extra = Section(
        key="extra",
        title="One more",
        compute=lambda run: {"snn": {"length": float(run.seed)}},
        render=lambda demo: [page.paragraph(f"mean length {demo.mean('extra', 'snn', 'length')}")],
        rows=(Row("mean length", "length", "steps", digits=1),),
    )
    results = tuple(
        {**result, "extra": extra.compute(run)} for run, result in zip(found.runs, found.results, strict=True)
    )
    more = dataclasses.replace(found, sections=(*SECTIONS, extra), results=results)
    output.write(more, tmp_path)
    text = (tmp_path / "report.html").read_text()
    assert "mean length 0.5" in text
    assert "One more" in check_alone(text).headings
    spread = "± 0.7 steps".replace(" ", "\N{NO-BREAK SPACE}")
    assert f'<th scope="row">mean length</th><td class="number">0.5 {spread}</td>' in text
    assert (tmp_path / "results.csv").read_text().splitlines()[0].endswith(",length")
    assert load_results(tmp_path / "results.h5")["seed_1"]["extra"]["snn"]["length"] == 1.0
    shown = output.table(more)
    assert shown.columns[0]._cells[-1] == "mean length"
    assert shown.columns[1]._cells[-1] == "0.5 ± 0.7 steps"


def test_a_seed_gives_the_same_networks_again(finished):
    found, _, _ = finished
    small = dataclasses.replace(Plan(), epochs=1, hidden=16, delays=Delays(hidden=8))
    with job.one_thread():
        first, second = (job.run(small, found.runs[0].data, seed=5, say=str) for _ in range(2))
    for name in NETWORKS:
        states = [run.networks[name].net.state_dict() for run in (first, second)]
        assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
        assert first.networks[name].test.accuracy == second.networks[name].test.accuracy


def test_both_networks_have_the_same_layers_and_no_weight_in_common(finished):
    found, _, _ = finished
    for run in found.runs:
        snn, ann = (dict(getattr(run, name).net.named_parameters()) for name in ("snn", "ann"))
        assert {key: value.shape for key, value in snn.items()} == {key: value.shape for key, value in ann.items()}
        assert not any(torch.equal(snn[key], ann[key]) for key in snn)


def test_one_thread_is_used_and_the_number_restored():
    torch.set_num_threads(2)
    with job.one_thread():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 2


def test_training_images_are_moved_by_a_part_of_a_pixel():
    image = torch.zeros(1, 1, 8, 8)
    image[0, 0, 3, 4] = 1.0
    copies = job.moved(image, 0.5)
    assert copies.shape == (5, 1, 8, 8)
    assert torch.equal(copies[0], image[0])
    for copy, place in zip(copies[1:], ((3, 5), (3, 3), (4, 4), (2, 4)), strict=True):
        assert copy[0][place] == copy[0, 3, 4] == 0.5
        assert copy.sum() == 1.0


@pytest.mark.parametrize(
    ("values", "row", "text"),
    [
        ([0.971], Row("", "", "%", scale=100, digits=1), "97.1%"),
        ([0.97, 0.98, 0.99], Row("", "", "%", scale=100, digits=1), "98.0 ± 1.0%"),
        ([14208, 14208], Row("", ""), "14,208"),
        ([1.5e-8], Row("", "", "nJ", scale=1e9, digits=1), "15.0 nJ"),
        ([None, None], Row("", ""), "–"),
    ],
)
def test_figures_are_written_with_their_spread(values, row, text):
    assert row.written(values) == text


def test_seeds_are_numbered_from_zero_and_quick_is_shorter():
    assert plan(3, quick=False).seeds == (0, 1, 2)
    assert plan(1, quick=True).epochs < plan(1, quick=False).epochs


def test_a_folder_that_cannot_be_made_is_refused_before_the_work(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(FileError, match=r"the folder .*file/out cannot be made: .*; name another with --out"):
        command.demo(seeds=1, quick=True, out=tmp_path / "file" / "out")


def test_the_command_that_is_noted_runs_the_same_again(finished):
    found, folder, _ = finished
    assert found.command == f"{COMMAND} --out {folder}"
    assert isinstance(found, Demo)
