"""Pages in headless Chromium."""

import shutil
from collections.abc import Iterator

from playwright.sync_api import Browser, Page

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync"]  # fmt: skip
SIZES = {"desktop": {"width": 1280, "height": 900}, "phone": {"width": 390, "height": 844}}


def opened(browser: Browser, address: str, size: dict[str, int]) -> Iterator[Page]:
    page = browser.new_page(viewport=size)
    complaints: list[str] = []
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
    yield page
    page.close()
    assert complaints == []


def is_part_of_page(url: str, address: str) -> bool:
    return url == address or url.startswith(("data:", "blob:"))
