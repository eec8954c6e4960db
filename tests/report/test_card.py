"""The card of a model: its exact words, and that nothing in a report can mark it up."""

import re

import pytest

from diffaudit_jax.report.card import card, escaped
from diffaudit_jax.report.gate import Condition, gate

from .audits import HOSTILE
from .gated import EXTRACTION, FAIRNESS, MEMBERSHIP, TABLES, TESTS, changed

CARD = """### Membership audit: Faces

**Verdict.** Not detected: No attack did. The model (ddpm, from diffaudit train) was asked about 1,000 records that \
it was trained on and 2,000 that it was not. Of 2 attacks the strongest, b (white access), reached an AUC of 0.56 \
\\[0.54, 0.58\\], where 0.5 is guessing and 1 is perfect, and found 2.0 % \\[0.0, 4.0\\] of members where 1 % of \
non-members are wrongly accused; 95 % intervals. By a plan (sha256 `ab12`), fixed before members were asked about if \
this hash was published before, a found 5.0 % \\[3.0, 7.0\\] of members and wrongly accused 1.0 % \\[-1.0, 3.0\\] of \
non-members. It was trained with differential privacy: epsilon = 3.5 at delta = 1e-05 (add or remove one).

**Release gate failed**, by the upper ends of 95 % intervals:

- passes auc <= 0.6: at most 0.58 (b)
- fails tpr@0.01 <= 0.05: may be as much as 0.06 (a)

The figures are what these attacks achieved on this one model: other attacks may do better, another training gives \
another model, and they are measurements, not a legal conclusion.

Report of 2026-01-02, diffaudit\\_jax 1.2.3, jax 0.9, sha256 `9f86`.
"""


def test_the_card_says_this():
    outcomes = gate(MEMBERSHIP, [Condition("auc", 0.6), Condition("tpr", 0.05, 0.01)])
    assert card(MEMBERSHIP, outcomes, "9f86").replace("\N{NO-BREAK SPACE}", " ") == CARD
    assert "**Release gate passed**" in card(MEMBERSHIP, outcomes[:1], "9f86")


SAID = {
    "extraction": (EXTRACTION, "63 samples give away 3.0 % \\[0.6, 8.5\\] of what was trained on, by the rule calibr"),
    "tables": (TABLES, "400 synthetic records were held against 300 that were learned from and 200 others"),
    "fairness": (FAIRNESS, "Classifiers (lenet, tree) that learned from 2 generators were judged on 1,200 real"),
}


@pytest.mark.parametrize("kind", SAID)
def test_every_kind_of_report_has_a_card(kind):
    document, sentence = SAID[kind]
    assert sentence in card(document, [], "9f86").replace("\N{NO-BREAK SPACE}", " ")


def test_no_name_in_a_report_can_mark_up_the_card():
    hostile = f"{HOSTILE}\n\n# head [x](https://a.b) <b>*bold*</b> ![i](u) `c` | @someone"
    document = changed(MEMBERSHIP, title=hostile, verdict__label=hostile, provenance__source=hostile)
    document["attacks"][1]["name"] = document["verdict"]["attack"] = hostile
    document["tests"][hostile] = TESTS
    text = card(document, gate(document, [Condition("auc", 0.6)]), "9f86")
    plain = card(MEMBERSHIP, gate(MEMBERSHIP, [Condition("auc", 0.6)]), "9f86")
    marks = r"(?<!\\)(\*|\[|`|\||<[^=]|(?m:^#)|https:|@s)"
    assert [len(re.findall(mark, text)) for mark in (marks, r"\n")] == [
        len(re.findall(mark, plain)) for mark in (marks, r"\n")
    ]
    assert escaped("a*b_c\n# d") == r"a\*b\_c \# d"


LINKS = {  # text, how the card writes it with | for a word joiner
    "a site": ("www.evil.com, WWW.evil.com", r"www\.evil.com, WWW\.evil.com"),
    "an address": ("https://evil.com", r"https\://evil.com"),
    "mail": ("a@b.com a@1.com a@1.5e a@1_b.c", r"a@|b.com a@|1.com a@|1.5e a@|1\_b.c"),
    "mail by its scheme": ("mailto:a@3.com", r"mailto\:a@|3.com"),
    "a mention": ("@someone (@3rd)", "@|someone (@|3rd)"),
    "a rate": ("tpr@0.01 epsilon@1e-05: a @ 1", "tpr@0.01 epsilon@1e-05: a @ 1"),
}


@pytest.mark.parametrize("case", LINKS)
def test_what_github_would_link_stays_text(case):
    text, written = LINKS[case]
    assert escaped(text).replace("\N{WORD JOINER}", "|") == written
