"""The figures of a report, each drawn from a part of its document."""

from typing import Any

import matplotlib
import numpy as np
from matplotlib.ticker import FuncFormatter, NullFormatter

from diffaudit_jax.report.drawing import (
    DASHES,
    FAINT,
    INK,
    MEMBER,
    NONMEMBER,
    STYLE,
    Drawing,
    Key,
    band,
    inline_svg,
    keys_of,
    line,
    log_percent,
    new_axes,
)
from diffaudit_jax.report.numbers import percent

NUM_EXPOSED_LINES = 5


@matplotlib.rc_context(STYLE)
def roc_figure(attacks: list[dict[str, Any]], counts: dict[str, int]) -> Drawing:
    """Draws every attack's ROC on logarithmic axes, where what matters for privacy is on the left.

    Args:
      attacks: The document's attacks.
      counts: The document's counts: `members` and `nonmembers`.
    """
    title = "Members found against non-members wrongly accused, for every attack"
    figure, axes = new_axes("non-members wrongly accused", "members found")
    low = 0.5 / counts["nonmembers"]
    floor = min(low, 0.5 / counts["members"])
    resolved = 10 / counts["nonmembers"]
    log_percent(axes, "x", low)
    log_percent(axes, "y", floor)
    axes.axvspan(low, min(resolved, 1.0), color="#eef1f4", linewidth=0)
    axes.axvline(min(resolved, 1.0), color=FAINT, linewidth=0.9, dashes=(2, 2))
    axes.plot([floor, 1], [floor, 1], color=FAINT, linewidth=1.2)
    keys = keys_of([attack["name"] for attack in attacks])
    # Drawn in reverse, so that the first attack lies on top.
    for attack, key in reversed(list(zip(attacks, keys, strict=True))):
        fpr, tpr = np.asarray(attack["roc"]["fpr"]), np.asarray(attack["roc"]["tpr"])
        first = np.count_nonzero(fpr == 0) - 1  # the best that comes without a false accusation
        line(axes, np.maximum(fpr, low)[first:], np.maximum(tpr, floor)[first:], key)
    caption = (
        "Higher is a stronger attack; the thin grey line is guessing. "
        f"In the shaded part fewer than ten of the {counts['nonmembers']:,} non-members are wrongly accused, "
        "so the sample says little there. Both axes are logarithmic; the left edge stands for no false accusation."
    )
    return Drawing(inline_svg(figure, "roc", title), title, caption, (*keys, Key("guessing", FAINT)))


@matplotlib.rc_context(STYLE)
def loss_figure(trajectory: dict[str, Any], loss: str, name: str, exposed: list[dict[str, Any]]) -> Drawing:
    """Draws one loss of members and non-members against time: median, and the band of the middle half.

    Args:
      trajectory: The document's trajectory.
      loss: Which of its losses.
      name: Prefix of the SVG's ids, unique on the page.
      exposed: The document's most exposed records; the first of them are drawn one by one.
    """
    title = "Loss of members and non-members against diffusion time"
    figure, axes = new_axes("diffusion time (0 clean, 1 pure noise)", "loss")
    curves, times = trajectory["losses"][loss], trajectory["times"]
    keys = (Key("non-members", NONMEMBER, DASHES[1]), Key("members", MEMBER))
    for group, key in zip(("nonmembers", "members"), keys, strict=True):
        band(axes, times, curves[group]["q25"], curves[group]["q75"], key)
        line(axes, times, curves[group]["median"], key)
    for record in exposed[:NUM_EXPOSED_LINES]:
        axes.plot(times, record["trajectory"][loss], color=INK, linewidth=0.7, alpha=0.75)
    keys = (Key("most exposed, one by one", INK), *keys)
    if min(*curves["members"]["q25"], *curves["nonmembers"]["q25"]) > 0:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_xlim(0, 1)
    caption = (
        "Lines are medians, bands hold the middle half of each group. Where the bands part, the model tells the groups "
        "apart."
    )
    return Drawing(inline_svg(figure, name, title), title, caption, keys[::-1])


@matplotlib.rc_context(STYLE)
def auc_by_time_figure(trajectory: dict[str, Any], level: float) -> Drawing:
    """Draws how well each single time separates members from non-members, with its interval.

    Args:
      trajectory: The document's trajectory.
      level: Confidence level of the intervals.
    """
    title = "AUC of the loss at each single diffusion time"
    figure, axes = new_axes("diffusion time (0 clean, 1 pure noise)", "AUC of this time alone")
    losses = _told_apart(trajectory["losses"])
    keys = keys_of(list(losses))
    for curves, key in zip(losses.values(), keys, strict=True):
        band(axes, trajectory["times"], curves["auc_low"], curves["auc_high"], key)
        line(axes, trajectory["times"], curves["auc"], key)
    axes.axhline(0.5, color=FAINT, linewidth=1.2)
    lowest = min(min(curves["auc_low"]) for curves in trajectory["losses"].values())
    axes.set(xlim=(0, 1), ylim=(min(0.4, lowest - 0.02), 1.01))
    caption = (
        f"Bands are {percent(level)} intervals for each time by itself; 0.5 (grey) is guessing. "
        "The best time is seen here with the answers in view; an attacker must choose blindly."
    )
    return Drawing(inline_svg(figure, "auc", title), title, caption, keys)


def _told_apart(losses: dict[str, Any]) -> dict[str, Any]:
    """Joins losses whose AUCs agree at every time, as one residual under several weights does, under a joint name."""
    groups: list[list[str]] = []
    for name, curves in losses.items():
        for group in groups:
            if np.allclose(losses[group[0]]["auc"], curves["auc"], rtol=0, atol=0.005):
                group.append(name)
                break
        else:
            groups.append([name])
    return {", ".join(group): losses[group[0]] for group in groups}


@matplotlib.rc_context(STYLE)
def histogram_figure(attack: dict[str, Any], name: str) -> Drawing:
    """Draws how one attack's scores spread over members and over non-members.

    Args:
      attack: One of the document's attacks.
      name: Prefix of the SVG's ids, unique on the page.
    """
    title = "Scores of members and non-members"
    figure, axes = new_axes("score (higher: more like a member)", "share of the group")
    histogram = attack["histogram"]
    edges = np.asarray(histogram["edges"])
    for group, colour, hatch in (("nonmembers", NONMEMBER, None), ("members", MEMBER, "////")):
        counts = np.asarray(histogram[group], float)
        share = counts / max(counts.sum(), 1)
        axes.stairs(share, edges, fill=True, color=colour, alpha=0.22, hatch=hatch, linewidth=0)
        axes.stairs(share, edges, color=colour, linewidth=1.6, linestyle="-" if hatch else (0, DASHES[1]))
    axes.yaxis.set_major_formatter(FuncFormatter(percent))
    axes.set_xlim(edges[0], edges[-1])
    axes.set_ylim(bottom=0)
    axes.grid(visible=False, axis="x")
    caption = "The further the two shapes lie apart, the better the attack. The outermost bars hold everything beyond."
    keys = Key("members", MEMBER), Key("non-members", NONMEMBER, DASHES[1])
    return Drawing(inline_svg(figure, name, title), title, caption, keys)
