from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from support.browsers import CHROMIUM, QUIET, SIZES, Pages


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def pages(browser: Browser, address: str) -> Iterator[Pages]:
    """The page at the `address` of the module."""
    pages = Pages(browser, address)
    yield pages
    pages.close()


@pytest.fixture(params=SIZES)
def page(request: pytest.FixtureRequest, pages: Pages) -> Iterator[Page]:
    """The page at desktop and at phone width."""
    yield from pages.shown(request.param)


@pytest.fixture
def desktop(pages: Pages) -> Iterator[Page]:
    yield from pages.shown("desktop")


@pytest.fixture
def phone(pages: Pages) -> Iterator[Page]:
    yield from pages.shown("phone")
