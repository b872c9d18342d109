"""Looking up images by the names in label files, which may differ in folders, case, encoding or ending."""

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from gpu_ssl.data.folder_classes import part_of
from gpu_ssl.data.label_tables import text_of
from gpu_ssl.data.opening import suffixes
from gpu_ssl.data.positions import Positions
from gpu_ssl.data.problems import printable
from gpu_ssl.errors import either

UPLOADED = re.compile(r"^(?=[0-9]*[a-f])(?=[a-f]*[0-9])[0-9a-f]{6,8}-(?=.)")
"""Prefix that Label Studio adds to the names of uploaded files; without a letter it is rather a date."""

UPLOADED_TO = re.compile(r"(^|/)upload/([^/]+/)?[0-9a-f]{6,8}-(?=[^/]+$)")
"""The same with the folder of uploaded files, where the prefix may be any."""

ESCAPED = re.compile(r"^'(?=[=+@-])")
"""Mark that `--escape-formulas` writes before a name."""

POSITION = re.compile(r"0*([0-9]+)(\.0*)?")
"""A position in a file, which programs may write as 7.0."""

COMPARED = 2**16
"""Number of bytes by which two files are compared."""


class AmbiguousNameError(Exception):
    """A name that matches several images."""

    def __init__(self, name: str, candidates: Sequence[str]) -> None:
        listed = either([repr(printable(each)) for each in candidates[:3]])
        super().__init__(f"{printable(name)!r} may mean {listed}")


class NameIndex:
    """Index of images by name.

    Parameters
    ----------
    names : sequence of str
        Paths below a folder, or positions in a file.
    place : Path
        The folder or file.
    files : mapping of str to sequence of str, optional
        Files with several images (pages), and the names of these images.
    others : iterable of str, optional
        Paths below the folder that are not read as images, but that label files may name.
    """

    def __init__(
        self,
        names: Sequence[str],
        place: Path,
        files: Mapping[str, Sequence[str]] | None = None,
        others: Iterable[str] = (),
    ) -> None:
        self._positions = names if isinstance(names, Positions) else None
        self._place, self._folder = place.absolute(), place.absolute().name
        self._above = [_composed(part).casefold() for part in place.absolute().parts]
        self._bases = [f"{_normal(str(base))}/" for base in (place, place.absolute())]
        self._names: dict[str, tuple[str, ...]] = {}
        self._others = frozenset(others)
        self._file_of = {page: file for file, pages in (files or {}).items() for page in pages}
        if self._positions is None:
            self._names = {name: (name,) for name in (*self._others, *names)}
            self._names |= {file: tuple(pages) for file, pages in (files or {}).items()}
        self._made: dict[Callable[[str], Iterable[str]], dict[str, list[str]]] = {}

    def find(self, name: str) -> tuple[str, ...]:
        """Return the image with this name, or all pages of the file; an empty tuple if none matches.

        The name may be in another Unicode form or encoding, lack its ending, have more or fewer leading
        folders, or be written by a labelling tool. The closest match is used.

        Raises
        ------
        AmbiguousNameError
            If several images match equally well.
        """
        for each in dict.fromkeys((name, name.strip(), ESCAPED.sub("", name))):
            if found := self._find_position(each) if self._positions is not None else self._find(each):
                return found
        return ()

    def strays(self, name: str, image: str) -> bool:
        """Whether a name gives another folder than the one that contains the image."""
        if name in (image, printable(image)):  # whose name may hold a backslash
            return False
        given = folder_of(name).rpartition("/")[2]
        actual = image.rpartition("/")[0].rpartition("/")[2] or self._folder
        return bool(given) and _composed(given).casefold() != _composed(actual).casefold()

    def names_another(self, name: str, image: str) -> bool:
        """Whether a name is that of another file than the image, or of another part of a data set.

        Of ``test/1.png`` for the image ``1.png`` in ``set/train`` it is; and so it is if there is such a file
        next to the data, or an absolute path leads to it, and it is no copy of the image.
        """
        if not self.strays(name, image):
            return False
        parts = [part_of(folder) for folder in folder_of(name).split("/")]
        own = [part_of(folder) for folder in (self._folder, *image.split("/")[:-1])]
        if any(parts) and any(own):
            return next(filter(None, reversed(parts))) != next(filter(None, reversed(own)))
        with suppress(OSError, ValueError):  # the latter of names with a null character
            file = self._place / self._file_of.get(image, image)
            for form in dict.fromkeys((name, _from_address(name))):
                other = self._place.parent / form
                if other.is_file() and file.is_file() and not _are_alike(file, other):
                    return True
        return False

    def begins_elsewhere(self, name: str, image: str) -> bool | None:
        """Whether a name with more leading folders than the image has them from another place than the data.

        None if it has no more. Of ``val/dogs/1.png`` for the image ``dogs/1.png`` it is ``val``, which is not
        the last folder of the data in ``set/train``.
        """
        if name in (image, printable(image)):
            return None
        given = [_composed(part).casefold() for part in folder_of(name).split("/") if part]
        extra = given[: len(given) - image.count("/")]
        return extra[-1] != self._above[-1] if extra else None

    def _find_position(self, name: str) -> tuple[str, ...]:
        number = POSITION.fullmatch(name)
        return (number[1],) if number and self._positions and number[1] in self._positions else ()

    def _find(self, name: str) -> tuple[str, ...]:
        if name in self._names:
            return self._names[name]
        whole = list(dict.fromkeys(self._forms(name)))
        # Names with leading folders removed.
        shorter = list(dict.fromkeys(form for each in whole for form in _ends(each)))
        # The file may have been converted to another format.
        bare = [stem for form in whole for stem in _without_ending(form) if stem != form and _is_usual(form)]
        uploaded = _without_prefix(name)
        for forms, keys in (
            (whole, _full),
            (shorter, _full),
            (whole, _without_ending),
            (shorter, _without_ending),
            (whole, _any_end),
            (whole, _any_end_without_ending),
            ([end for stem in bare for end in _ends(stem)], _without_ending),
            (bare, _any_end_without_ending),
            ([form.casefold() for form in shorter], _any_case),
            ([form.casefold() for form in whole], _any_end_and_case),
            ([uploaded] if uploaded else [], _as_uploaded),
        ):
            if found := self._look_up(name, forms, keys):
                return found
        return ()

    def _look_up(
        self, name: str, forms: Sequence[str], keys: Callable[[str], Iterable[str]]
    ) -> tuple[str, ...]:
        if keys not in self._made:
            self._made[keys] = self._map(keys)
        for form in forms:
            if found := self._made[keys].get(form):
                if len(found) > 1:  # the same photograph may be there in a second format that is not read
                    found = [each for each in found if each not in self._others] or found
                if len(found) > 1:
                    raise AmbiguousNameError(name, found)
                return self._names[found[0]]
        return ()

    def _map(self, keys: Callable[[str], Iterable[str]]) -> dict[str, list[str]]:
        known: dict[str, list[str]] = {}
        for name in self._names:
            if name in self._file_of:
                continue
            written = {_composed(name), _composed(printable(name)), _composed(text_of(name))}
            for key in {key for each in written for key in keys(each)}:
                known.setdefault(key, []).append(name)
        return known

    def _forms(self, name: str) -> Iterator[str]:
        """Yield possible readings of a name, the closest first."""
        for written in dict.fromkeys((name, text_of(name), name.replace("\\", "/"), _from_address(name))):
            form = _normal(_composed(written))
            for base in self._bases:
                if form.startswith(base):
                    yield form.removeprefix(base)
            yield form
        if uploaded := _without_prefix(name):
            yield _composed(uploaded)


def _are_alike(one: Path, other: Path) -> bool:
    """Whether two files are the same, or of one size and with the same first bytes."""
    if one.samefile(other):
        return True
    if one.stat().st_size != other.stat().st_size:
        return False
    with one.open("rb") as first, other.open("rb") as second:
        return first.read(COMPARED) == second.read(COMPARED)


def _normal(path: str) -> str:
    """Return a path without empty and ``.`` components: ``a/b`` for ``./a//b``."""
    parts = [part for part in path.split("/") if part not in ("", ".")]
    return ("/" if path.startswith("/") else "") + "/".join(parts)


def _from_address(name: str) -> str:
    """Return the path in a URL, or in Label Studio's notation for local files."""
    if not any(sign in name for sign in ":?%"):
        return name
    try:
        address = urlsplit(name)
    except ValueError:
        return name
    if given := parse_qs(address.query).get("d"):
        return given[0]
    return unquote(address.path if address.scheme else name)


def _without_prefix(name: str) -> str:
    """Return the name of an uploaded file without Label Studio's prefix; "" if it has none."""
    path = _from_address(name)
    last = path.rpartition("/")[2]
    return last.partition("-")[2] if UPLOADED.match(last) or UPLOADED_TO.search(path) else ""


def _is_usual(name: str) -> bool:
    return f".{name.rpartition('.')[2].lower()}" in suffixes()


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _ends(name: str) -> list[str]:
    """Return a path and its tails: without the first folder, without the first two, and so on."""
    ends = [name]
    while (start := ends[-1].find("/")) >= 0:
        ends.append(ends[-1][start + 1 :])
    return ends


def _full(name: str) -> list[str]:
    return [name]


def _without_ending(name: str) -> list[str]:
    folder, slash, file = name.rpartition("/")
    return [folder + slash + (file.rpartition(".")[0] or file)]


def _any_end(name: str) -> list[str]:
    return _ends(name)[1:]


def _any_end_without_ending(name: str) -> list[str]:
    return [end for each in _without_ending(name) for end in _ends(each)[1:]]


def folder_of(name: str) -> str:
    """Return the folder part of a name, as written."""
    return _normal(name.strip().replace("\\", "/")).rpartition("/")[0]


def _any_case(name: str) -> list[str]:
    return [name.casefold()]


def _any_end_and_case(name: str) -> list[str]:
    return _any_end(name.casefold())


def _as_uploaded(name: str) -> list[str]:
    """Return the name that Label Studio's server gives an uploaded file."""
    return [re.sub(r"[^-\w.]", "", name.rpartition("/")[2].strip().replace(" ", "_"))]
