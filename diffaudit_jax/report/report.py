"""A report: the JSON document, with the few things one does to it."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import escape

from diffaudit_jax.report.document import read_document, write_report
from diffaudit_jax.report.numbers import estimate, percent, shares
from diffaudit_jax.report.page import render


@dataclass(frozen=True, eq=False)
class Report:
    """A membership report.

    Attributes:
      document: The report as plain JSON data; schema ``diffaudit.membership``, version 2.
    """

    document: dict[str, Any]

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Report":
        """Reads a saved report from its folder or its JSON file.

        Raises:
          InputError: if there is no report that this version can read.
        """
        return cls(read_document(path))

    def save(self, directory: str | os.PathLike[str]) -> tuple[Path, Path]:
        """Writes ``report.json`` and ``report.html``, each whole or not at all.

        Args:
          directory: Folder, made if it does not exist.

        Returns:
          The paths of the two files.

        Raises:
          InputError: if the document is not strict JSON, e.g. an array or a NaN in its provenance.
        """
        return write_report(directory, "report.json", self.document, render(self.document))

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
        return "\n".join([f"{verdict['label']}: {verdict['headline']}", "", *lines])

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
