"""The page in a real browser: labels by keys are on disk, through reloads, undo and kill -9."""

import csv
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from gpu_ssl.data.image_set import Dataset
from tests.browser import faults, started
from tests.label.hostile import HOSTILE, SCRIPT
from tests.program import run_program, start_program

CLASSES = [SCRIPT, *(f"digit {i}" for i in range(1, 9))]
"""Of the digits 0 to 8; a 9 is none of these."""

MOVED = "name => document.querySelector('.image.current .name').textContent !== name"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with started() as browser:
        yield browser


@pytest.fixture
def page(browser: Browser) -> Page:
    """A page without what browsers keep for encrypted and local pages."""
    page = browser.new_page()
    page.add_init_script("delete Crypto.prototype.randomUUID")
    return page


@contextmanager
def served(folder: Path, photos: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    command = ("label", str(photos), "--no-open", "--no-mirror", "--classes", ",".join(CLASSES))
    program = start_program(folder, *command, stdout=subprocess.PIPE)
    try:
        assert program.stdout is not None
        address = program.stdout.readline().strip()
        assert address, program.communicate()[1]
        yield program, address
    finally:
        program.kill()
        program.wait()


def on_disk(folder: Path) -> dict[str, str]:
    with (folder / "labels.csv").open(newline="") as file:
        return {row["path"]: row["label"] for row in csv.DictReader(file)}


def current(page: Page) -> str:
    return page.locator(".image.current .name").inner_text()


class Person:
    """Labels each image correctly, by keys."""

    def __init__(self, page: Page, digits: Dataset, folder: Path) -> None:
        self.page, self.folder, self.said = page, folder, dict[str, str]()
        self.truth = {HOSTILE if i == 0 else f"{i:04d}.png": digits.train.labels[i] for i in range(400)}

    def label(self, count: int) -> None:
        for _ in range(count):
            self.say()
            expect(self.page.locator("#progress")).to_have_text(re.compile(f"^{self.progress()}$"))

    def say(self) -> None:
        name = current(self.page)
        digit = int(self.truth[name])
        self.page.keyboard.press("0" if digit == 9 else str(digit + 1))
        self.said[name] = "unknown" if digit == 9 else CLASSES[digit]
        self.page.wait_for_function(MOVED, arg=name)

    def progress(self) -> str:
        none = sum(label == "unknown" for label in self.said.values())
        tail = f", {none} not one of the classes" if none else ""
        return f"{len(self.said) - none} of 400 images labelled{tail}"

    def agrees(self) -> None:
        assert on_disk(self.folder) == self.said


def test_a_label_that_was_not_written_is_told_until_the_next_one_is(
    page: Page, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And work in the background goes on once the label file is a table again."""
    monkeypatch.setenv("GPU_SSL_CACHE_DIR", str(tmp_path / "cache"))
    with served(tmp_path, photos) as (_, address):
        page.goto(address)
        page.wait_for_selector(".image")
        page.keyboard.press("1")
        expect(page.locator("#progress")).to_have_text("1 of 400 images labelled")
        labels = tmp_path / "labels.csv"
        good, name = labels.read_bytes(), current(page)
        labels.write_text("another;table\n")
        page.keyboard.press("1")
        expect(page.locator("#problem")).to_contain_text("labels.csv")
        page.wait_for_timeout(3500)  # two requests of the state
        expect(page.locator("#problem")).to_contain_text("labels.csv")
        assert current(page) == name
        labels.write_bytes(good)
        page.keyboard.press("2")
        expect(page.locator("#progress")).to_have_text("2 of 400 images labelled")
        expect(page.locator("#problem")).to_be_hidden()
        expect(page.locator("#estimate")).to_contain_text("two or more images of each class", timeout=60_000)
        assert list(on_disk(tmp_path).values()) == CLASSES[:2]


def test_sixty_labels_by_keys_through_undo_reload_and_kill(
    page: Page, photos: Path, digits: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GPU_SSL_CACHE_DIR", str(tmp_path / "cache"))
    problems: list[str] = []
    page.on("dialog", lambda dialog: problems.append(dialog.message))
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on(
        "request", lambda request: problems.extend([] if "//127.0.0.1:" in request.url else [request.url])
    )
    person = Person(page, digits, tmp_path)
    with served(tmp_path, photos) as (program, address):
        page.goto(address)
        page.wait_for_selector(".image")
        person.label(12)
        person.agrees()
        page.keyboard.press("u")
        expect(page.locator("#said")).to_have_text("Undone for 1 image")
        person.said.pop(current(page))
        person.agrees()
        person.label(8)
        page.reload()
        page.wait_for_selector(".image")
        person.label(11)
        expect(page.locator("#estimate strong")).to_have_text(re.compile("%"), timeout=60_000)
        program.send_signal(signal.SIGKILL)
        program.wait()
        person.agrees()
    with served(tmp_path, photos) as (program, address):
        page.goto(address)
        page.wait_for_selector(".image")
        expect(page.locator("#progress")).to_have_text(person.progress())
        person.label(30)
        person.agrees()
        assert len(person.said) == 60
        expect(page.locator("#estimate")).to_contain_text("from ", timeout=60_000)
        page.locator("#write").click()
        expect(page.locator("#written")).to_contain_text("gpu-ssl predict model", timeout=120_000)
        points = page.evaluate("document.querySelectorAll('#chart circle').length")
        assert points >= 1
        assert faults(page) == []
        page.locator("#tab-labelled").click()
        page.wait_for_selector(".image .label")
        assert faults(page) == []
        program.send_signal(signal.SIGINT)
        assert program.wait(30) == 0
        person.agrees()
    assert problems == []
    done = run_program(tmp_path, "predict", "model", str(photos))
    assert done.returncode == 0, done.stderr
    answers = {row["path"]: row["label"] for row in csv.DictReader(done.stdout.splitlines())}
    right = [answers[name] == CLASSES[digit] for name, digit in person.truth.items() if digit != 9]
    assert sum(right) / len(right) > 0.75


def test_a_keyboard_is_enough(
    browser: Browser, photos: Path, digits: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Several at once, zoom, a new class, tabs, and taking a label back, without a pointer."""
    monkeypatch.setenv("GPU_SSL_CACHE_DIR", str(tmp_path / "cache"))
    with served(tmp_path, photos) as (_, address):
        page = browser.new_page()
        page.goto(address)
        page.wait_for_selector(".image")
        names = page.locator(".image .name").all_inner_texts()[:3]
        keys = page.keyboard
        keys.press("Space")
        keys.press("ArrowRight")
        keys.press("ArrowRight")
        keys.press("Shift+Space")
        keys.press("2")
        expect(page.locator("#progress")).to_contain_text("3 of 400")
        assert on_disk(tmp_path) == dict.fromkeys(names, "digit 1")
        keys.press("z")
        expect(page.locator("#closely")).to_be_visible()
        assert faults(page) == []
        keys.press("Escape")
        keys.press("c")
        keys.type("tenth")
        keys.press("Enter")
        expect(page.locator("#counts")).to_contain_text("tenth")
        name = current(page)
        keys.press("Shift+Tab")
        for _ in range(30):  # to the button of the tenth class, which has no key
            if page.evaluate("document.activeElement.dataset.class") == "tenth":
                break
            keys.press("Shift+Tab")
        keys.press("Enter")
        expect(page.locator("#progress")).to_contain_text("4 of 400")
        assert on_disk(tmp_path)[name] == "tenth"
        page.locator("#tab-next").focus()
        keys.press("ArrowRight")
        expect(page.locator("#tab-labelled")).to_have_attribute("aria-selected", "true")
        page.locator("#of-class button", has_text="tenth").focus()
        keys.press("Enter")
        expect(page.locator(".image")).to_have_count(1)
        page.locator("#grid").focus()
        keys.press("Backspace")
        expect(page.locator("#progress")).to_contain_text("3 of 400")
        assert name not in on_disk(tmp_path)


def test_two_pages_show_different_images_and_keep_what_both_say(
    browser: Browser, photos: Path, digits: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GPU_SSL_CACHE_DIR", str(tmp_path / "cache"))
    with served(tmp_path, photos) as (_, address):
        context = browser.new_context()
        people = [Person(context.new_page(), digits, tmp_path) for _ in range(2)]
        for person in people:
            person.page.goto(address)
            person.page.wait_for_selector(".image")
        for _ in range(6):
            for person in people:
                person.say()
        expect(people[0].page.locator("#progress")).to_contain_text("of 400")
        assert not people[0].said.keys() & people[1].said.keys()
        said = people[0].said | people[1].said
        assert len(said) == 12
        for person in people:
            person.page.wait_for_function(
                "n => document.querySelectorAll('.image .label').length === n", arg=6
            )
        assert on_disk(tmp_path) == said
