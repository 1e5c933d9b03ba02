"""Links from a page to a file outside docs/, such as ../findrec/model.py.

In the repository they work as they are written. On the site they lead to the same file under the
setting `repository_url`; where that is empty, the file is copied into the site (MyST's `path:`).
"""

import re
from posixpath import dirname, join, normpath

from sphinx.application import Sphinx

LINK = re.compile(r"(?<=\]\()\.\./[^)#\s]*")


def rewritten(text: str, page: str, url: str) -> str:
    """The text of docs/<page>.md, its links out of docs/ leading to `url`, or to copies if ""."""

    def absolute(link: re.Match[str]) -> str:
        target = normpath(join("docs", dirname(page), link[0]))
        if target.startswith("docs/"):
            return link[0]
        return f"{url}/{target}" if url else f"path:{link[0]}"

    return LINK.sub(absolute, text)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the setting and the rewriting with Sphinx."""

    def rewrite(app: Sphinx, page: str, content: list[str]) -> None:
        content[0] = rewritten(content[0], page, app.config.repository_url)

    app.add_config_value("repository_url", "", "env", str)
    app.connect("source-read", rewrite)
    return {"parallel_read_safe": True}
