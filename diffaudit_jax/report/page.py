"""One self-contained HTML page from a report's JSON: nothing is loaded from elsewhere, nothing runs.

Every value of the document is untrusted: the template escapes all text, links only lead to ``https`` addresses, and
the page's own content security policy forbids scripts and network in case anything slips through.
"""

import json
import re
from collections.abc import Callable, Iterator
from importlib import resources
from typing import Any

import jinja2
from markupsafe import Markup

from diffaudit_jax.report import figures
from diffaudit_jax.report.drawing import Drawing
from diffaudit_jax.report.lower_bound import explained
from diffaudit_jax.report.numbers import at_least, at_most, estimate, p_value, percent, shares
from diffaudit_jax.report.promise import promise
from diffaudit_jax.report.significance import wrong_way
from diffaudit_jax.report.thresholds import broken_promises, why

ACCESS = {
    "white": "white-box: the attacker has the weights",
    "gray": "gray-box: the attacker may run the network on inputs of its own, without seeing the weights",
    "variation": "image-to-image: the attacker sees variations of an image of its own",
    "black": "black-box: the attacker sees samples only",
}


def link(text: Any) -> str | None:
    """Returns the first https address in `text`, the only kind that the page links to."""
    found = re.search(r"https://[\w.-]+(?:/[\w./~%+=?&-]*)?", str(text or ""))
    return found.group().rstrip(".") if found else None


def flat(value: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Walks a JSON value as (dotted path, text) pairs; lists of plain values stay on one line."""
    if isinstance(value, dict) and value:
        for name, part in value.items():
            yield from flat(part, f"{prefix}.{name}" if prefix else str(name))
    else:
        yield prefix, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def own_text(name: str) -> Markup:
    """Returns a file of this package as text that the page does not escape."""
    return Markup(resources.files("diffaudit_jax.report").joinpath(name).read_text(encoding="utf-8"))


def template_environment(read: Callable[[str], str] = own_text) -> jinja2.Environment:
    """Returns an environment of this package's templates that escapes every value and refuses a missing one."""
    return jinja2.Environment(
        loader=jinja2.FunctionLoader(read),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def inline(drawing: Drawing) -> Drawing:
    """Returns a drawing whose SVG, which holds no user's text, the page does not escape."""
    return drawing._replace(svg=Markup(drawing.svg))


def _drawings(document: dict[str, Any]) -> dict[str, list[Drawing]]:
    """Draws everything the document has data for: the figures up front, and one histogram for each attack."""
    attacks, trajectory = document["attacks"], document["trajectory"]
    front = [figures.roc_figure(attacks, document["counts"])]
    if trajectory:
        front += [
            figures.loss_figure(trajectory, loss, f"loss{i}", document["exposed"])
            for i, loss in enumerate(trajectory["losses"])
        ]
        front.append(figures.auc_by_time_figure(trajectory, document["level"]))
    histograms = [figures.histogram_figure(attack, f"histogram{i}") for i, attack in enumerate(attacks)]
    return {"front": front, "histograms": histograms}


def render(document: dict[str, Any]) -> str:
    """Returns the report as one HTML page for phone, desktop and paper.

    Args:
      document: A membership report, as `read_document` or `membership_report` gives it.
    """
    environment = template_environment()
    environment.filters |= {
        "estimate": estimate, "shares": shares, "percent": percent, "link": link, "flat": flat, "why": why,
        "access": lambda name: ACCESS.get(name, name), "broken_promises": broken_promises, "p_value": p_value,
        "wrong_way": wrong_way, "at_least": at_least, "at_most": at_most,
    }  # fmt: skip
    template = environment.get_template("page.html")
    # The only two texts that are not escaped are our own: the style sheet, and the SVG (which holds no user text).
    css = own_text("page.css")
    drawings = {place: [inline(drawing) for drawing in group] for place, group in _drawings(document).items()}
    said = {"promised": promise(document), "bounds": explained(document)}
    return template.render(document=document, css=css, drawings=drawings, **said)
