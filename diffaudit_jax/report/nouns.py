"""What a report's samples and their like are called: images, or the records of a table."""

import re
from typing import Any

from markupsafe import Markup

IMAGE, RECORD = "image", "record"

# Not a key such as `test.images`, and no media type.
_WORD = re.compile(r"\b(an )?(?<![.:])image(s?)\b")


def nouns(document: dict[str, Any]) -> str:
    """Returns what several of them are called, in a report of any age."""
    return f"{document.get('noun', IMAGE)}s"


def worded(document: dict[str, Any], text: str) -> str:
    """Returns text of the library's own, which speaks of images, about what a report's samples are.

    Args:
      document: The report.
      text: It holds no name that a user chose.
    """
    if document.get("noun", IMAGE) == IMAGE:
        return text
    found = _WORD.sub(lambda match: ("a " if match[1] else "") + RECORD + match[2], text)
    return Markup(found) if isinstance(text, Markup) else found
