"""A real browser for the tests of pages: Debian's chromium, which ``scripts/test`` installs."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome")


@contextmanager
def started() -> Iterator[Browser]:
    """Start the browser; without one, fail in CI, and skip the test elsewhere."""
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None and os.environ.get("CI"):
        pytest.fail("no chromium is here; scripts/test installs it as root on Debian", pytrace=False)
    if path is None:
        pytest.skip("no chromium is here; apt-get install chromium")
    with sync_playwright() as playwright:
        # Without a sandbox of its own, as containers run tests as root.
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


def faults(page: Page) -> list[str]:
    """Return what axe-core finds serious of what keeps people from using a page."""
    found: list[dict[str, Any]] = Axe().run(page).response["violations"]
    return [
        f"{own['id']}: {own['nodes'][0]['html'][:200]}"
        for own in found
        if own["impact"] in ("serious", "critical")
    ]
