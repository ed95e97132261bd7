"""What is in a page of HTML, and whether its elements close in order."""

from html.parser import HTMLParser


class Outline(HTMLParser):
    """Collects elements and checks that they close in order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    @property
    def tags(self) -> list[str]:
        """The names of all elements."""
        return [tag for tag, _ in self.elements]

    def loads_nothing(self) -> bool:
        """Whether no element loads or runs anything."""
        kinds = {"script", "link", "img", "iframe", "object"}
        links = [attributes.get(name) for _, attributes in self.elements for name in ("href", "xlink:href")]
        return (
            not kinds & set(self.tags)
            and not any({"src", "onload", "onclick"} & set(attributes) for _, attributes in self.elements)
            and all(link is None or link.startswith("#") for link in links)
        )
