"""A report: the JSON document, with the few things one does to it."""

from markupsafe import escape

from diffaudit_jax.report.document import SCHEMA, read_document
from diffaudit_jax.report.lower_bound import in_short
from diffaudit_jax.report.numbers import estimate, percent, shares
from diffaudit_jax.report.page import render
from diffaudit_jax.report.saved import Kind, SavedReport


class Report(SavedReport):
    """A membership report; schema ``diffaudit.membership``, version 2."""

    kind = Kind("report.json", SCHEMA, read_document, render)

    def rows(self) -> list[tuple[str, ...]]:
        """Returns the headline table as text: a head, then one row for each attack."""
        attacks = self.document["attacks"]
        points = attacks[0]["operating_points"]
        head = ("attack", "AUC", *(f"found at {percent(point['target_fpr'])} accused" for point in points))
        return [head, *(
            (attack["name"], estimate(attack["auc"]), *(
                shares(point["tpr"]) if point["tpr"] else "not resolvable" for point in attack["operating_points"]
            ))
            for attack in attacks
        )]  # fmt: skip

    def summary(self) -> str:
        """Returns the verdict and the headline table as plain text, columns aligned."""
        rows = [[cell.replace("\N{NO-BREAK SPACE}", " ") for cell in row] for row in self.rows()]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        verdict = self.document["verdict"]
        said = [line for sentence in in_short(self.document) for line in ("", sentence)]
        return "\n".join([f"{verdict['label']}: {verdict['headline']}", "", *lines, *said])

    def _repr_html_(self) -> str:
        """The headline table, for notebooks."""
        head, *body = (
            "".join(f"<t{kind}>{escape(cell)}</t{kind}>" for cell in row)
            for kind, row in zip("h" + "d" * len(self.document["attacks"]), self.rows(), strict=True)
        )
        verdict = self.document["verdict"]
        return (
            f"<p><b>{escape(verdict['label'])}.</b> {escape(verdict['headline'])}</p>"
            f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(f'<tr>{row}</tr>' for row in body)}</tbody></table>"
        )
