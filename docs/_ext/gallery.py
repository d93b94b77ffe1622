"""A card for each page of a gallery: its title, its first picture and its first paragraph.

A gallery is a container of the class "gallery" around a hidden toctree, which says which pages it shows.
"""

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the extension."""
    app.connect("doctree-resolved", fill_galleries)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def fill_galleries(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Put the cards into all galleries of a page. They come last, when all pages have been read."""
    for container in doctree.findall(nodes.container):
        if "gallery" in container["classes"]:
            # The toctree is gone by now; the environment remembers its entries.
            container.children = []
            container += [card(app, page, docname) for page in app.env.toctree_includes[docname]]


def card(app: Sphinx, page: str, docname: str) -> nodes.Element:
    """Make one card, which is a link as a whole."""
    doctree = app.env.get_doctree(page)
    link = nodes.reference("", "", internal=True, refuri=app.builder.get_relative_uri(docname, page))
    picture = next(doctree.findall(nodes.image), None)
    if picture is not None:
        copy = picture.deepcopy()
        copy["alt"] = ""  # the title of the card says it
        link += copy
    link += nodes.inline("", app.env.titles[page].astext(), classes=["card-title"])
    link += nodes.inline("", first_sentence(doctree), classes=["card-text"])
    return nodes.container("", addnodes.compact_paragraph("", "", link), classes=["card"])


def first_sentence(doctree: nodes.document) -> str:
    """Return the first sentence of the text of a page."""
    paragraph = next(doctree.findall(nodes.paragraph))
    return paragraph.astext().replace("\n", " ").split(". ")[0].rstrip(".") + "."
