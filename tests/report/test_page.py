"""The page: everything is escaped, nothing is loaded, ids are unique, and it can be drawn again from the JSON."""

import copy
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from diffaudit_jax.report import Report, membership_report, redraw, render
from diffaudit_jax.report.page import estimate, flat, link, p_value, shares
from diffaudit_jax.report.schema import DOCUMENT, SINCE_2, faults
from diffaudit_jax.types import InputError

from .audits import HOSTILE, SIZES, audit


class Page(HTMLParser):
    """Tags, attributes and visible text of a page."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.attributes, self.text, self.open = [], [], "", []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in {"meta", "img"}:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if self.open and self.open[-1] == tag:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data

    def values(self, name):
        return [value for _, attribute, value in self.attributes if attribute == name]


@pytest.fixture(scope="module")
def pages(reports):
    return {level: render(report.document) for level, report in reports.items()}


@pytest.mark.parametrize("level", SIZES)
def test_untrusted_text_is_shown_and_never_run(pages, level):
    page = Page(pages[level])
    assert page.open == []  # every tag is closed in order: no text has broken out
    assert "script" not in page.tags
    assert not [name for _, name, _ in page.attributes if name.startswith("on")]
    assert page.text.count(HOSTILE) >= 5  # title, tables, keys, provenance: as text, letter by letter


@pytest.mark.parametrize("level", SIZES)
def test_nothing_is_loaded_from_elsewhere(pages, level):
    page = Page(pages[level])
    assert not set(page.tags) & {"script", "link", "iframe", "object", "embed", "base", "form", "image"}
    assert all(value.startswith("data:image/png;base64,") for value in page.values("src"))
    assert all(value.startswith(("https://arxiv.org/", "#")) for value in page.values("href"))
    assert "@import" not in pages[level]
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", pages[level]))
    assert "default-src 'none'; style-src 'unsafe-inline'; img-src data:" in page.values("content")


@pytest.mark.parametrize("level", SIZES)
def test_ids_are_unique_and_references_resolve(pages, level):
    page = Page(pages[level])
    ids = page.values("id")
    assert len(ids) == len(set(ids)) > 100
    targets = re.findall(r"url\(#([^)]*)\)", pages[level]) + [value[1:] for value in page.values("xlink:href")]
    assert targets
    links = [value[1:] for value in page.values("href") if value.startswith("#")]
    assert "how-to-read" in links
    assert set(targets + links + page.values("aria-labelledby")) <= set(ids)


@pytest.mark.parametrize("level", SIZES)
def test_every_picture_has_words(pages, level):
    svgs = re.findall(r"<svg[^>]*>", pages[level])
    assert all('aria-hidden="true"' in svg or "aria-label" in svg for svg in svgs)
    assert all("viewBox" in svg and "width=" not in svg for svg in svgs)  # they scale to any screen
    assert pages[level].count("<title id=") == len(re.findall("aria-labelledby", pages[level])) >= 4


@pytest.mark.parametrize("level", SIZES)
def test_the_verdict_comes_first(pages, reports, level):
    document = reports[level].document
    text = Page(pages[level]).text
    places = [text.index(document["verdict"]["headline"]), *map(text.index, document["verdict"]["sentences"])]
    assert places == sorted(places)
    assert places[-1] < text.index("What each attack finds")
    assert all(limit in text for limit in document["limits"])


@pytest.mark.parametrize("level", SIZES)
def test_a_reader_is_told_how_to_read(pages, level):
    text = Page(pages[level]).text
    assert text.index("How to read this page") < text.index("What each attack finds")  # the link
    shown = text[text.rindex("How to read this page") : text.index("Details")]
    assert all(word in shown for word in ("Indicative", "Not resolvable", "Wrongly accused", "Holm"))
    assert not re.search(r"\bpeople\b|query at least", text)


def test_the_wrong_way_round_is_named_where_it_is_seen(pages, reports):
    text = Page(pages["wrong-way"]).text
    assert text.count("ranks the wrong way round: check its sign") == 2
    assert "While scores rank the wrong way round, this order says nothing." in text
    assert "wrong way round" not in Page(pages["detected"]).text
    assert reports["wrong-way"].summary().startswith("Scores rank the wrong way round: A higher score must mean")


def test_a_threshold_that_moved_is_commented_on(reports):
    document = copy.deepcopy(reports["detected"].document)
    transfer = document["attacks"][0]["transfers"][1]
    transfer["fpr"] = {"value": 0.024, "low": 0.012, "high": 0.042}
    said = "A threshold that rests on 5 non-members moves this much by chance"
    assert Page(render(document)).text.count(said) == 1 + Page(render(reports["detected"].document)).text.count(said)


@pytest.mark.parametrize(
    ("access", "says"),
    [
        ("white", "white-box: the attacker has the weights"),
        ("variation", "image-to-image: "),
        ("black", "black-box: "),
        ("my own", "my own"),
    ],
)
def test_threat_models_are_spelt_out(access, says):
    rng = np.random.default_rng(0)
    scores = {"a": rng.normal(size=30)}
    report = membership_report(scores, np.arange(30) < 15, attacks={"a": {"access": access}})
    assert Page(render(report.document)).text.count(says) == 2  # in the table, and among the attack's details


def test_the_page_is_small_and_the_same_each_time(pages, reports):
    for level, page in pages.items():
        assert render(reports[level].document) == page
        assert len(page) < 400_000


def test_images_are_inside_the_page():
    page = Page(render(membership_report(**audit("too-small"), show_images=2).document))
    assert len(page.values("src")) == page.tags.count("img") == 2
    assert "are not shown" not in page.text


def test_a_report_without_extras_has_a_page():
    rng = np.random.default_rng(0)
    document = membership_report({"a": rng.normal(size=30)}, np.arange(30) < 15).document
    text = Page(render(document)).text
    assert "Loss over diffusion time" not in text
    assert "lind check" not in text


@pytest.fixture(scope="module")
def full():
    """A report with everything, in which every name tries to break out of the page."""
    given, rng = audit("detected"), np.random.default_rng(1)
    n = len(given["member"])
    given["member"] = rng.permutation(given["member"])
    study = {
        (HOSTILE, by, k / 4): rng.normal(size=n) + (2 * k - 3) * given["member"]
        for by in ("time", HOSTILE)
        for k in (1, 2)
    }
    names = np.where(rng.random(n) < 0.5, HOSTILE, "other")
    names[:3] = "few & rare"
    return membership_report(**given, study=study, strata={HOSTILE: names, "digit": rng.integers(0, 2, n)}).document


def test_everything_is_shown_and_nothing_breaks_out(full):
    html = render(full)
    page = Page(html)
    assert page.open == []
    assert "script" not in page.tags
    assert not [name for _, name, _ in page.attributes if name.startswith("on")]
    text = " ".join(page.text.split())
    assert text.index("What each attack finds") < text.index("How the attack was chosen")
    assert f"Who is exposed more: {HOSTILE}" in text
    assert "few & rare (" in text
    assert text.count("Widest gap") == 2
    assert text.count("(Holm)") >= 2 + 2 * 3 + 1  # attacks, gaps of both stratifications, the glossary
    assert "best of 4 variants" in text
    shades = [value for value in page.values("style") if value.startswith("background")]
    areas = [area for row in full["study"]["rows"] for area in row["auc"]]
    assert ["213,94,0" in shade for shade in shades] == [area >= 0.5 for area in areas] == [False, True] * 2
    assert all(re.fullmatch(r"background:rgba\((213,94,0|0,114,178),0\.\d+\)", shade) for shade in shades)
    assert page.values("class").count("best") == 1
    assert list(faults(full, DOCUMENT)) == []


def as_version_1(document):
    """What the first version of the library would have written: the shared interval, and no later part."""
    old = {key: part for key, part in copy.deepcopy(document).items() if key not in SINCE_2}
    for attack in old["attacks"]:
        attack["auc_shared"] = attack["auc"]
    return old | {"schema_version": 1}


@pytest.mark.parametrize("level", SIZES)
def test_a_document_of_version_1_is_still_drawn(reports, tmp_path, level):
    (tmp_path / "report.json").write_text(json.dumps(as_version_1(reports[level].document)))
    text = Page(redraw(tmp_path).read_text(encoding="utf-8")).text
    assert "How the attack was chosen" not in text
    assert "Who is exposed more" not in text
    assert all(sentence in text for sentence in reports[level].document["verdict"]["sentences"])
    document = Report.load(tmp_path).document
    assert document["tests"] == reports[level].document["tests"]  # they follow from numbers that version 1 holds
    assert list(faults(document, DOCUMENT)) == []
    assert document["schema_version"] == 2


@pytest.mark.parametrize(
    ("place", "value", "says"),
    [
        ("attacks.0.auc.low", 1.5, r"has numbers that do not fit together \(an AUC of .* is no interval"),
        ("attacks.0.surest.p_value", 7, r"has numbers that do not fit together \(p-value 1 is 7.0"),
        ("level", 95, r"has numbers that do not fit together \(level is 95"),
        ("attacks.0.surest", ..., r"lacks attacks\[0\].surest"),
    ],
)
def test_a_damaged_document_of_version_1_is_refused(reports, tmp_path, place, value, says):
    old = as_version_1(damaged(reports["detected"].document, place, value))
    (tmp_path / "report.json").write_text(json.dumps(old))
    with pytest.raises(InputError, match=rf"{says}.*: write the report again\.$"):
        redraw(tmp_path)


def test_saving_reading_and_drawing_again_change_nothing(reports, tmp_path):
    report = reports["detected"]
    json_path, html_path = report.save(tmp_path / "new" / "folder")
    first = html_path.read_text(encoding="utf-8")
    assert sorted(path.name for path in json_path.parent.iterdir()) == ["report.html", "report.json"]
    assert Report.load(json_path).document == Report.load(json_path.parent).document == report.document
    for named in (json_path.parent, json_path):
        html_path.unlink()
        assert redraw(named) == html_path
        assert html_path.read_text(encoding="utf-8") == first
    with pytest.raises(InputError, match=r"report.html' is a page, .*: give the directory\.$"):
        redraw(html_path)


def test_a_failed_save_leaves_the_old_report(reports, tmp_path):
    reports["detected"].save(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(InputError, match="without NaN"):
        Report(reports["detected"].document | {"level": float("nan")}).save(tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (None, r"cannot read a report at .*No such file"),
        ("{not json", "is not JSON"),
        ("[1, 2]", "has schema None"),
        ('{"schema": "other"}', "has schema 'other', not 'diffaudit.membership'"),
        ('{"schema": "diffaudit.membership", "schema_version": 3}', "schema version 3 .* update diffaudit_jax"),
        ('{"schema": "diffaudit.membership"}', "schema version None"),
        ('{"schema": "diffaudit.membership", "schema_version": 1}', "lacks .*attacks.*: write the report again"),
    ],
)
def test_what_is_not_a_report_is_refused(tmp_path, text, says):
    if text is not None:
        (tmp_path / "report.json").write_text(text)
    with pytest.raises(InputError, match=says):
        redraw(tmp_path)
    assert not (tmp_path / "report.html").exists()


def damaged(document, place, value):
    """The document with one part replaced, or left out if the value is ...; lists are counted in the place."""
    document = copy.deepcopy(document)
    *path, last = [int(part) if part.isdigit() else part for part in place.split(".")]
    parent = document
    for part in path:
        parent = parent[part]
    if value is ...:
        del parent[last]
    else:
        parent[last] = value
    return document


WRONG = [
    ("level", "x", "has 'x' at level, not a number"),
    ("level", True, "has True at level, not a number"),
    ("counts", None, "has None at counts, not an object"),
    ("counts.members", 0, "has 0 at counts.members, not a whole number from 1"),
    ("counts.nonmembers", 2.5, "has 2.5 at counts.nonmembers, not a whole number"),
    ("counts", ..., "lacks counts"),
    ("created", 3, "has 3 at created, not text"),
    ("title", ["a"], r"has \['a'\] at title, not text"),
    ("attacks", [], r"has \[\] at attacks, not a list with an entry"),
    ("attacks", {}, "has {} at attacks, not a list"),
    ("attacks.1.auc", ..., r"lacks attacks\[1\].auc"),
    ("attacks.0.auc.low", "0.5", r"has '0.5' at attacks\[0\].auc.low, not a number"),
    ("attacks.0.operating_points.2.tpr", 0.5, r"has 0.5 at attacks\[0\].operating_points\[2\].tpr, not an object"),
    ("attacks.0.histogram.edges", [], r"not a list with an entry"),
    ("attacks.0.spec", None, r"has None at attacks\[0\].spec, not an object"),
    ("verdict", "fine", "has 'fine' at verdict, not an object"),
    ("verdict.frequencies", {}, "lacks verdict.frequencies.target_fpr, verdict.frequencies.found"),
    ("verdict.sentences", "all is well", "at verdict.sentences, not a list"),
    ("blind.leaks", "no", "has 'no' at blind.leaks, not true or false"),
    ("blind.advantage.weak", 1, "has 1 at blind.advantage.weak, not an object"),
    ("blind.advantage.weak", ..., "do not fit together .*weak"),
    ("trajectory.times", None, "has None at trajectory.times, not a list"),
    ("trajectory.times", [0.5], "do not fit together"),
    ("trajectory.losses.eps.auc", [0.5, None], r"has None at trajectory.losses.eps.auc\[1\], not a number"),
    ("exposed.0.trajectory", None, "do not fit together"),
    ("tests", ..., "lacks tests"),
    ("tests.weak.auc.adjusted", "small", "has 'small' at tests.weak.auc.adjusted, not a number"),
    ("tests.weak", ..., "do not fit together .*weak"),
    ("choices.0.honest", None, r"has None at choices\[0\].honest, not an object"),
    ("study", [], r"has \[\] at study, not an object"),
    ("exposure", None, "has None at exposure, not a list"),
    ("exposed.0.row", -1, r"has -1 at exposed\[0\].row"),
    ("provenance", [], r"has \[\] at provenance, not an object"),
    ("limits", ["a", None], r"has None at limits\[1\], not text"),
    ("level", float("nan"), "is not JSON .it holds NaN"),
    ("counts.members", float("inf"), "is not JSON .it holds Infinity"),
]


@pytest.mark.parametrize(("place", "value", "says"), WRONG, ids=[f"{p}={v}"[:40] for p, v, _ in WRONG])
def test_a_report_with_a_wrong_part_is_refused_by_its_place(reports, tmp_path, place, value, says):
    (tmp_path / "report.json").write_text(json.dumps(damaged(reports["detected"].document, place, value)))
    with pytest.raises(InputError, match=rf"{says}.*: write the report again\.$"):
        redraw(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["report.json"]


@pytest.mark.parametrize("level", SIZES)
def test_the_shape_of_a_document_names_all_its_parts(reports, level):
    document = reports[level].document
    assert list(faults(document, DOCUMENT)) == []
    assert set(document) == {"schema", "schema_version", *DOCUMENT}


def test_people_with_several_records_are_counted_on_the_page():
    given = audit("too-small")
    person = np.repeat(np.arange(24), 3)
    document = membership_report(
        {name: scores[person] for name, scores in given["scores"].items()}, given["member"][person], groups=person
    ).document
    text = " ".join(Page(render(document)).text.split())
    assert "36 training records and 36 others asked about, one of each of 12 and 12 people counted" in text
    assert "of 36" in text
    assert "Each person counts once" in text


def test_the_summary_is_an_aligned_table(reports):
    head, _, *table = reports["too-small"].summary().splitlines()
    assert head.startswith("Too few records to tell: ")
    assert len(table) == 3
    column = table[0].index("AUC")
    assert all(re.match(r"\d\.\d\d \[\d\.\d\d, \d\.\d\d\]", line[column:]) for line in table[1:])
    assert all("not resolvable" in line for line in table[1:])


def test_notebooks_show_the_table_escaped(reports):
    page = Page(reports["detected"]._repr_html_())
    assert page.open == []
    assert page.tags.count("tr") == 3
    assert HOSTILE in page.text


@pytest.mark.parametrize(
    ("value", "low", "high", "plain", "percentage"),
    [
        (0.834, 0.781, 0.871, "0.83 [0.78, 0.87]", "83 % [78, 87]"),
        (0.05, 0.012, 0.11, "0.05 [0.01, 0.11]", "5.0 % [1.2, 11.0]"),
        (0.0, 0.0, 0.004, "0.00 [0.00, 0.00]", "0.0 % [0.0, 0.4]"),
        (1.0, 0.94, 1.0, "1.00 [0.94, 1.00]", "100 % [94, 100]"),
    ],
)
def test_estimates_in_words(value, low, high, plain, percentage):
    given = {"value": value, "low": low, "high": high}
    assert estimate(given) == plain
    assert shares(given).replace("\N{NO-BREAK SPACE}", " ") == percentage
    assert estimate(None) == shares(None) == "\N{EN DASH}"


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (0.0, "p < 0.001"),
        (0.00099, "p < 0.001"),
        (0.001, "p = 0.001"),
        (0.0342, "p = 0.034"),
        (0.5, "p = 0.5"),
        (1.0, "p = 1"),
    ],
)
def test_p_values_in_words(value, says):
    assert p_value(value) == says


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("Zhu et al., https://arxiv.org/abs/2302.07801.", "https://arxiv.org/abs/2302.07801"),
        ("javascript:alert(1)", None),
        ("http://plain.example", None),
        ('https://a.example/"onclick="x', "https://a.example/"),
        (None, None),
    ],
)
def test_links_lead_to_https_only(text, target):
    assert link(text) == target


def test_nested_values_become_dotted_rows():
    nested = {"a": {"b": [1, 2.5, None], "c": {}}, "d": True, "e": "text"}
    assert list(flat(nested)) == [("a.b", "[1, 2.5, null]"), ("a.c", "{}"), ("d", "true"), ("e", "text")]
