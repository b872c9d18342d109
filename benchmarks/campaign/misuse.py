"""Odd options, hostile names and files that are not images: an exit code, and at most one line of error."""

import os
import random
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.campaign.program import Done, run
from benchmarks.campaign.world import World, complaint

VALUES = (
    *("", " ", "-1", "0", "1", "2", "1e309", "nan", "inf", "-inf", "0x10", "1e-320", "999999999999999999999"),
    *(
        "all",
        "full",
        "auto",
        "none",
        "vae",
        "hog",
        "m1",
        "pixels",
        "cuda:7",
        "cpu",
        "true",
        "null",
        "[]",
        "{}",
    ),
    *("images", "labels.csv", "model", "test/100.png", ".", "..", "/dev/null", "/dev/full", "nowhere/x"),
    *("ü", "a\nb", "a\x1b[31mb", "[red]x", "x" * 300, "%s%n", "$(id)", "../x", "-q", "--help", "a,b,,c"),
    *("1,2,3", "20", "50,full", "pretrained:", "pretrained:zzz", "vae+", "+", "vae+vae", "1.5", "1_000"),
)
"""Odd values of options."""

NAMES = (
    *(
        "a b",
        "ü",
        "e\u0301",
        "a\nb",
        "a\tb",
        "\x1b[31mred",
        "[red]x[/red]",
        "=cmd()",
        "@x",
        "a,b",
        'a"b',
        "a'b",
    ),
    *(
        "-q",
        "--help",
        "%d",
        "$HOME",
        "`id`",
        "|",
        "<b>",
        "&amp;",
        "\u202ereversed",
        "\u200b",
        "\U0001f600",
        "..a",
    ),
    *(
        "nan",
        "-1",
        "unlabelled",
        "None",
        "1",
        "01",
        "x" * 200,
        " leading",
        "trailing ",
        "a;b",
        "CON",
        "#x",
        "\\n",
    ),
)
"""Names of files and of classes."""


def odd_options(world: World, rng: random.Random, number: int) -> str | None:
    """Give a command one to three options with odd values."""
    with world.copy(None, "model") as folder:
        command = rng.choice(list(_OPTIONS))
        words = list(_BEGIN[command])
        for _ in range(rng.randint(1, 3)):
            option = rng.choice(_OPTIONS[command])
            words += [option] if option in _FLAGS else [option, rng.choice(VALUES)]
        done = run(folder, command, *words)
        wrong = complaint(done, 0, 1, 2) if "--help" not in words else None
        return wrong and f"{command} {words}: {wrong}"


_READING = ("--path-column", "--label-column", "--group-column", "--image-size", "--pages", "--cache-dir")
_OPTIONS = {
    "fit": (
        *("--labels", "--output", "--method", "--encoder", "--effort", "--from", "--preset", "--epochs"),
        *("--batch-size", "--latent-dim", "--svm-c", "--seed", "--device", "--svm", *_READING, "--json"),
        *("--class-weight", "--network", "--folders-too", "--large-images", "--kl-weight", "--learning-rate"),
    ),
    "predict": (
        "--output",
        "--format",
        "--min-confidence",
        "--unknown-above",
        "--device",
        "--pages",
        "--quiet",
    ),
    "suggest": ("-n", "--output", "--sheet", "--seed", "--pages", "--path-column", "--device"),
    "encode": ("--output", "--image-size", "--pages", "--path-column", "--device", "--cache-dir"),
    "check": ("--labels", *_READING, "--folders-too", "--json"),
    "run": (
        *("--labels", "--method", "--encoder", "--dataset", "--splits", "--seed", "--svm-gamma", "--svm-c"),
        *(
            "--output",
            "--resume",
            "--epochs",
            "--device",
            "--data-dir",
            "--preset",
            "--effort",
            "--cache-dir",
        ),
    ),
}
_BEGIN = {
    "fit": ("images", "--labels", "labels.csv", "--output", "new", "--method", "m1", "--epochs", "1"),
    "predict": ("model", "test"),
    "suggest": ("images",),
    "encode": ("hog", "images", "--output", "z.npy"),
    "check": ("images", "--labels", "labels.csv"),
    "run": (
        *("--dataset", "digits", "--labels", "20", "--splits", "1", "--epochs", "1", "--no-plots"),
        *("--no-baselines", "--method", "m1", "--output", "new"),
    ),
}
_FLAGS = {"--json", "--quiet", "--folders-too", "--large-images"}


def hostile_names(world: World, rng: random.Random, number: int) -> str | None:
    """Fit to images with hostile names, folders and classes, predict them, and fit to the predictions."""
    with world.copy() as folder:
        images = sorted((folder / "images").glob("*.png"))
        classes = rng.sample(NAMES, 2)
        lines = []
        for i, path in enumerate(images):
            name = rng.choice(NAMES).replace("/", "")
            moved = folder / "images" / rng.choice(("", name[:50])) / f"{name[:100]}{i}.png"
            moved.parent.mkdir(exist_ok=True, parents=True)
            path.rename(moved)
            lines.append((str(moved.relative_to(folder / "images")), classes[i % 2]))
        table = "".join(f"{_quoted(name)},{_quoted(label)}\n" for name, label in lines[:30])
        (folder / "labels.csv").write_text("path,label\n" + table, errors="surrogateescape")
        common = ("--method", "m1", "--epochs", "1", "--output", "model")
        done = run(folder, "fit", "images", "--labels", "labels.csv", *common)
        if (wrong := complaint(done, 0, 1, 2)) is not None or done.code != 0:
            return wrong and f"fit to {classes}: {wrong}"
        if (wrong := _card(folder / "model" / "README.md", classes)) is not None:
            return wrong
        done = run(folder, "predict", "model", "images", "--output", "answers.csv")
        if (wrong := complaint(done, 0)) is not None:
            return f"predict of {classes}: {wrong}"
        done = run(folder, "check", "images", "--labels", "answers.csv")
        return complaint(done, 0, 1, 2)


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def _card(path: Path, classes: list[str]) -> str | None:
    """Return whether the table of the card has a complete row for each class."""
    rows = [line for line in path.read_text().splitlines() if line.startswith("|")]
    cells = {line.replace("\\|", "").count("|") for line in rows}
    return None if len(cells) == 1 and len(rows) >= 4 else f"the card's table breaks with {classes}: {rows}"


def hostile_files(world: World, rng: random.Random, number: int) -> str | None:
    """Run the program on invalid or damaged images, arrays and label tables."""
    with world.copy(None, "model") as folder:
        name = rng.choice(
            ("x.npy", "x.npz", "x.parquet", "x.safetensors", "x.png", "x.tif", "x.dcm", "x.heic")
        )
        path = folder / "odd" / name
        path.parent.mkdir()
        _make(path, rng)
        labels = folder / rng.choice(("l.csv", "l.json", "l.jsonl", "l.parquet", "l.tsv", "l.txt"))
        _make_labels(labels, rng)
        commands = (
            ("predict", "model", str(rng.choice((path, path.parent)))),
            ("check", str(rng.choice((path, path.parent)))),
            ("check", "images", "--labels", str(labels)),
            ("suggest", str(path.parent)),
            ("encode", "hog", str(path), "--output", "z.npy"),
        )
        words = rng.choice(commands)
        done: Done = run(folder, *words)
        wrong = complaint(done, 0, 1, 2)
        return wrong and f"{' '.join(words)}: {wrong}"


def _make(path: Path, rng: random.Random) -> None:
    """Write a file that is whole, damaged, or not what its name says."""
    numbers = np.random.default_rng(rng.randrange(2**32)).integers(0, 255, (4, 9, 9), np.uint8)
    shape = rng.choice(((4, 9, 9), (4, 81), (324,), (4, 0, 9), (4, 1, 1, 81), (1, 4, 9, 9), (4, 9, 9, 1)))
    array = np.resize(numbers, shape).astype(rng.choice(("u1", "f4", "f2", "i8", "b", "c8", "M8[s]", "S4")))
    if path.suffix == ".npy":
        np.save(path, array)
    elif path.suffix == ".npz":
        arrays: dict[str, Any] = {rng.choice(("x", "images", "x_train")): array, "y": np.arange(4)}
        np.savez_compressed(path, allow_pickle=False, **arrays)
    elif path.suffix in (".png", ".tif"):
        Image.fromarray(numbers[0]).save(path)
    else:
        path.write_bytes(rng.randbytes(rng.choice((0, 10, 1000))))
    content = bytearray(path.read_bytes())
    for _ in range(rng.choice((0, 1, 5))):
        if content:
            content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(content[: rng.choice((len(content), len(content), len(content) // 2))])
    if rng.random() < 0.05:
        path.unlink()
        os.mkfifo(path)


def _make_labels(path: Path, rng: random.Random) -> None:
    cells = [f"{i:03d}.png" for i in range(6)] + [
        "",
        "a",
        "1",
        '"',
        "\x00",
        "[",
        "{",
        "\ufeff",
        "=x",
        "\x1b[2J",
    ]
    rows = [
        rng.choice(",;\t").join(rng.choices(cells, k=rng.randint(1, 4))) for _ in range(rng.randint(0, 9))
    ]
    text = rng.choice(("path,label\n", "", "label\n", "[", '{"a":' * 3000)) + "\n".join(rows)
    content = text.encode(rng.choice(("utf-8", "utf-16", "utf-8-sig")), errors="surrogatepass")
    path.write_bytes(content[: rng.choice((len(content), len(content) // 2))])
