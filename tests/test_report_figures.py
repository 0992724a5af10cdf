"""Figures draw what they are given, and the page needs nothing but itself."""

import doctest
import importlib
import itertools
import re
from html.parser import HTMLParser

import matplotlib
import numpy as np
import pytest
import torch

import snnkit
from snnkit import report
from snnkit.data import Events
from snnkit.errors import InputError
from snnkit.report import page, theme

MODULES = [f"snnkit.report.{name}" for name in ("delays", "figures", "page", "pictures", "recordings", "theme")]

FIGURES = {
    "raster": lambda: report.raster(torch.eye(6)),
    "trace": lambda: report.trace(torch.rand(5, 3), names=("a", "b", "c"), emphasis=1, threshold=0.5),
    "curves": lambda: report.curves({"SNN": {"train": [0.5, 0.9], "validation": [0.4, 0.8]}}, percent=True),
    "confusion": lambda: report.confusion(torch.tensor([[5, 1], [0, 4]]), classes=("cat", "dog")),
    "accuracy_over_time": lambda: report.accuracy_over_time({"SNN": [0.1, 0.9]}, reference=("ANN", 0.95)),
    "bars": lambda: report.bars({"SNN": {"adds": 3}, "ANN": {"products": 9}}),
    "events": lambda: report.events(Events.build([([0, 9], [1, 2])], [0], shape=(4,), classes=("a", "b"))),
    "spectrogram": lambda: report.spectrogram(torch.rand(5, 3)),
    "photograph": lambda: report.photograph(torch.rand(3, 5, 4)),
    "gallery": lambda: report.gallery(torch.rand(3, 4, 4), titles=("x", "y", "z")),
    "weights": lambda: report.weights(torch.randn(5, 16), shape=(4, 4)),
    "delay_histogram": lambda: report.delay_histogram(torch.rand(9) * 4, torch.rand(9) * 4, longest=4),
    "delay_map": lambda: report.delay_map(torch.randn(5, 16), torch.rand(5, 16) * 4, shape=(4, 4), longest=4),
    "arrivals": lambda: report.arrivals(torch.eye(5), torch.randn(5), torch.tensor([0, 2, 1, 3, 1])),
    "narrowing": lambda: report.narrowing([2.0, 0.5, 0.2], {"first": [0.3, 0.4, 0.3], "last": [0.0, 1.0, 0.0]}),
}


class Parsed(HTMLParser):
    """A strict reading of HTML: every element is closed in order; identifiers, links and headings are kept."""

    def __init__(self, text):
        super().__init__()
        self.open, self.ids, self.links, self.headings, self.tags = [], [], [], [], set()
        self.feed(text)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        for name, value in attributes:
            if name == "id":
                self.ids.append(value)
            if name in ("href", "src", "srcset", "action", "data"):
                self.links.append(value)
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in ("meta", "br"):
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag, f"</{tag}> closes something else"

    def handle_data(self, text):
        if self.open and self.open[-1] in ("h1", "h2"):
            self.headings.append(text)


def check_alone(text):
    """Assert that a page is well-formed and needs nothing from elsewhere; return it parsed."""
    parsed = Parsed(text)
    assert len(parsed.ids) == len(set(parsed.ids)), "an identifier is there twice"
    assert not parsed.tags & {"script", "link", "iframe", "object"}
    for link in parsed.links:
        assert link.startswith(("#", "data:image/png;base64,")), link
        assert not link.startswith("#") or link[1:] in parsed.ids, f"{link} leads nowhere"
    assert not re.search(r"@import|url\((?!#)", text)
    assert "http" not in text
    return parsed


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name):
    module = importlib.import_module(name)
    globs = {"snnkit": snnkit, "torch": torch, **{key: getattr(report, key) for key in report.__all__}}
    result = doctest.testmod(module, extraglobs=globs)
    assert result.attempted > 0
    assert result.failed == 0


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_becomes_an_svg_that_follows_the_page(name):
    text = report.svg(FIGURES[name](), alt="what <it> shows")
    assert text.startswith("<svg viewBox=")
    assert 'role="img" aria-label="what &lt;it&gt; shows"' in text
    for colour in theme.VARIABLES:
        assert colour not in text
    assert "DejaVu" not in text and "<metadata" not in text
    check_alone(text)


@pytest.mark.parametrize("name", FIGURES)
def test_the_same_figure_becomes_the_same_text(name):
    texts = []
    for _ in range(2):
        torch.manual_seed(0)
        texts.append(report.svg(FIGURES[name](), alt=""))
    assert texts[0] == texts[1]


def test_every_figure_of_the_package_is_tested():
    assert set(FIGURES) == set(report.__all__) - {"svg"}


def test_figures_leave_the_style_of_their_user_alone():
    before = dict(matplotlib.rcParams)
    for make in FIGURES.values():
        report.svg(make(), alt="")
    assert dict(matplotlib.rcParams) == before


def test_two_figures_on_a_page_share_no_identifier():
    pages = [report.svg(report.weights(torch.randn(4, 16), shape=(4, 4)), alt="") for _ in range(2)]
    ids = [set(Parsed(text).ids) for text in pages]
    assert ids[0] and not ids[0] & ids[1]


def test_a_raster_has_a_mark_for_every_spike():
    spikes = torch.zeros(10, 7)
    spikes[2, 3] = spikes[9, 6] = 1
    (marks,) = report.raster(spikes).axes[0].collections
    middles = sorted(segment.mean(0).round(6).tolist() for segment in marks.get_segments())
    assert middles == [[3.0, 3.0], [10.0, 6.0]]


def test_a_trace_has_a_line_for_every_neuron_and_their_names():
    states = torch.rand(6, 3)
    axes = report.trace(states, names=("a", "b", "c"), threshold=0.5).axes[0]
    lines = [line.get_ydata() for line in axes.lines]
    for column in states.T.numpy():
        assert any(np.array_equal(line, column) for line in lines)
    assert {text.get_text() for text in axes.texts} == {"a", "b", "c", "threshold"}


def test_names_at_the_ends_of_lines_do_not_overlap():
    axes = report.trace(torch.zeros(4, 6), names=tuple("abcdef")).axes[0]
    places = sorted(text.xy[1] for text in axes.texts)
    assert min(b - a for a, b in itertools.pairwise(places)) > 0
    assert places[-1] <= axes.get_ylim()[1]


def test_a_confusion_matrix_shows_its_counts():
    axes = report.confusion([[5, 1], [0, 4]], classes=("cat", "dog")).axes[0]
    assert sorted(text.get_text() for text in axes.texts) == ["1", "4", "5"]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["cat", "dog"]


def test_bars_end_with_their_sums():
    axes = report.bars({"SNN": {"a": 1000, "b": 500}, "ANN": {"b": 2000}}).axes[0]
    assert [text.get_text() for text in axes.texts] == ["1,500", "2,000"]


def test_a_histogram_counts_every_delay_before_and_after():
    axes = report.delay_histogram([0.0, 0.1, 4.0], [1.0, 1.1, 4.0], longest=4).axes[0]
    before = {round(bar.get_x(), 6): bar.get_height() for bar in axes.containers[0] if bar.get_height()}
    assert before == {0.0: 2.0, 3.75: 1.0}
    after = {x: y for x, y in axes.patches[-1].get_xy().tolist() if y}
    assert after == {1.0: 2.0, 1.25: 2.0, 3.75: 1.0, 4.0: 1.0}


def test_a_map_colours_by_delay_and_fades_with_the_weight():
    weight, delay = torch.tensor([[1.0, -0.5, 0.0, 1.0]]), torch.tensor([[0.0, 2.0, 1.0, 1.6]])
    (image,) = report.delay_map(weight, delay, shape=(2, 2), longest=2).axes[0].images
    pixels = np.asarray(image.get_array()).reshape(4, 4)
    assert pixels[:, 3].tolist() == [1.0, 0.5, 0.0, 1.0]
    assert np.array_equal(pixels[1, :3], pixels[3, :3])
    assert len(np.unique(pixels[:3, :3], axis=0)) == 3


def test_arrivals_are_late_by_their_delays_and_add_up():
    spikes = torch.zeros(4, 3)
    spikes[0, 0] = spikes[1, 1] = spikes[3, 2] = 1
    top, bottom = report.arrivals(spikes, torch.tensor([2.0, -1.0, 4.0]), torch.tensor([2, 1, 3])).axes
    rings, exciting, inhibiting, lost = (points.get_offsets()[:, 0].tolist() for points in top.collections[1:])
    assert (rings, exciting, inhibiting, lost) == ([1, 2, 4], [3], [3], [7])
    currents = {line.get_label(): np.asarray(line.get_ydata()).tolist() for line in bottom.lines}
    assert currents["without delays"] == [2.0, -1.0, 0.0, 4.0]
    assert currents["with delays"] == [0.0, 0.0, 1.0, 0.0]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: report.raster(torch.ones(5, 2, 3)), r"raster takes \[T, N\].*got shape \[5, 2, 3\]; choose a sample"),
        (lambda: report.trace(torch.ones(5)), r"trace takes \[T, N\].*got shape \[5\]"),
        (lambda: report.gallery(torch.ones(4, 4)), r"gallery takes \[N, H, W\].*got shape \[4, 4\]"),
        (lambda: report.curves({"SNN": {"train": []}}), r"curves takes \[T\] with nothing empty"),
        (lambda: report.weights(torch.ones(3, 10), shape=(4, 4)), r"come from 10 inputs, which are not 4 x 4"),
        (lambda: report.photograph(torch.ones(1, 4, 4)), r"photograph takes \[3, H, W\] and got \[1, 4, 4\]; gallery"),
        (lambda: report.spectrogram(torch.ones(4)), r"spectrogram takes \[T, N\]"),
        (
            lambda: report.delay_map(torch.ones(3, 10), torch.ones(3, 10), shape=(4, 4), longest=2),
            r"delay_map got weights \[3, 10\], delays \[3, 10\] and inputs of 4 x 4; needed are two of",
        ),
        (
            lambda: report.delay_map(torch.ones(3, 16), torch.ones(3, 4), shape=(4, 4), longest=2),
            r"delay_map got weights \[3, 16\], delays \[3, 4\]",
        ),
        (
            lambda: report.arrivals(torch.zeros(4, 3), torch.ones(3), torch.ones(3)),
            r"arrivals got a sample without spikes; choose another",
        ),
        (
            lambda: report.events(Events.build([([0], [1])], [0], shape=(2, 3), classes=("a", "b"))),
            r"events draws recordings of shape \(channels,\) or \(2, height, width\) and got \(2, 3\)",
        ),
    ],
)
def test_values_of_another_shape_are_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()


def test_a_page_escapes_all_text_and_stands_alone():
    blocks = (
        page.paragraph("a < b & c"),
        page.tiles([("<name>", "1", "note")]),
        page.table(("", "<b>"), [("<row>", "1"), ("other", "–")], caption="<caption>"),
        page.facts({"<fact>": "<what>"}),
        page.grid(page.figure(FIGURES["raster"](), alt="<alt>", caption="<caption>")),
        page.aside("", page.paragraph("beside")),
    )
    parts = [page.Part("one", "First & last", blocks)]
    text = page.document(title="<T>", lead="<L>", parts=parts, eyebrow="<E>", foot="<F>")
    parsed = check_alone(text)
    assert "".join(parsed.headings) == "<T>First & last"
    assert not {"b", "name", "row", "fact", "alt", "caption>"} & parsed.tags - {"caption"}
    assert '<td class="number">1</td>' in text


@pytest.mark.parametrize(
    ("text", "joined"),
    [
        ("16.8 ± 0.1 nJ", "16.8 ±_0.1_nJ"),
        ("with delays 4,734 ± 1,072, ANN 3", "with delays 4,734 ±_1,072, ANN 3"),
        ("96.6 ± 0.7%, ANN", "96.6 ±_0.7%, ANN"),
    ],
)
def test_a_line_never_breaks_between_a_spread_and_its_unit(text, joined):
    assert page.tiles([("", text, "")]).count(joined.replace("_", "\N{NO-BREAK SPACE}")) == 1


def test_a_page_is_for_light_and_dark_narrow_and_paper():
    text = page.document(title="", lead="", parts=[])
    for rule in ("prefers-color-scheme: dark", "@media print", "max-width: 34rem", 'name="viewport"'):
        assert rule in text
    assert text.count("--blue:") == 3
    for variable in theme.VARIABLES.values():
        assert text.count(f"--{variable}:") == 3, f"--{variable} is not given for light, dark and paper"


def test_the_package_names_what_it_lacks():
    with pytest.raises(AttributeError, match=r"module 'snnkit.report' has no attribute 'rastre'"):
        _ = report.rastre
