"""What all reports are: a JSON document of a known schema, with a page that is drawn from it alone."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self

from diffaudit_jax.report.document import write_report


class Kind(NamedTuple):
    """A kind of report.

    Attributes:
      file: Name of its JSON file.
      schema: Schema of its document.
      read: Reads the document from its file or folder, and checks it.
      render: Draws the page of a document.
    """

    file: str
    schema: str
    read: Callable[[str | os.PathLike[str]], dict[str, Any]]
    render: Callable[[dict[str, Any]], str]


@dataclass(frozen=True, eq=False)
class SavedReport:
    """A report of some kind.

    Attributes:
      document: The report as plain JSON data.
    """

    document: dict[str, Any]
    kind: ClassVar[Kind]

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Reads a saved report from its folder or its JSON file.

        Raises:
          InputError: if there is no report that this version can read.
        """
        return cls(cls.kind.read(path))

    def save(self, directory: str | os.PathLike[str]) -> tuple[Path, Path]:
        """Writes the JSON, e.g. ``report.json``, and ``report.html``, each whole or not at all.

        Args:
          directory: Folder, made if it does not exist.

        Returns:
          The paths of the two files.

        Raises:
          InputError: if the document is not strict JSON, e.g. an array or a NaN in its provenance.
        """
        return write_report(directory, self.kind.file, self.document, self.kind.render(self.document))
