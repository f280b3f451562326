"""Pages in headless Chromium."""

import shutil
from collections.abc import Iterator

from playwright.sync_api import Browser, Page

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync"]  # fmt: skip
SIZES = {"desktop": {"width": 1280, "height": 900}, "phone": {"width": 390, "height": 844}}


_BACK_TO_START = """() => {
    for (const list of ["task", "cost", "split"]) byId(list).selectedIndex = 0;
    byId("find").value = "";
    Object.assign(state, { sort: null, descending: true });
    select(null);
    drawChart();
    byId("scroll").scrollLeft = 0;
    scrollTo(0, 0);
}"""


class Pages:
    """The report's page, opened once in each size: opening it takes two seconds. Each test gets it as it was opened."""

    def __init__(self, browser: Browser, address: str):
        self._browser, self._address = browser, address
        self._open: dict[str, Page] = {}
        self._complaints: list[str] = []

    def shown(self, size: str) -> Iterator[Page]:
        """Yield the page. Fails if the page makes a request or its script reports an error."""
        if size in self._open:
            self._open[size].mouse.move(0, 0)
            self._open[size].evaluate(_BACK_TO_START)
        else:
            self._open[size] = _open(self._browser, self._address, SIZES[size], self._complaints)
        yield self._open[size]
        complaints = [*self._complaints]
        self._complaints.clear()
        assert complaints == []

    def close(self) -> None:
        for page in self._open.values():
            page.close()


def opened(browser: Browser, address: str, size: dict[str, int]) -> Iterator[Page]:
    """Open the page for one test. Fails if the page makes a request or its script reports an error."""
    complaints: list[str] = []
    page = _open(browser, address, size, complaints)
    yield page
    page.close()
    assert complaints == []


def _open(browser: Browser, address: str, size: dict[str, int], complaints: list[str]) -> Page:
    page = browser.new_page(viewport=size)
    page.on(
        "console", lambda message: complaints.append(message.text) if message.type in ("error", "warning") else None
    )
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("dialog", lambda dialog: complaints.append(f"dialog: {dialog.message}"))
    page.on(
        "request", lambda request: complaints.append(request.url) if not is_part_of_page(request.url, address) else None
    )
    page.goto(address)
    page.wait_for_selector("#chart .points path")
    return page


def is_part_of_page(url: str, address: str) -> bool:
    return url == address or url.startswith(("data:", "blob:"))
