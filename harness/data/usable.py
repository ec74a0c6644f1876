"""What a run would miss in a manifest, what it refuses, and what a user should know of its names and gaps."""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import combinations

from lorisbench.common.errors import InputError
from lorisbench.data.identity import same_files
from lorisbench.data.manifest import POSITION, SPLITS, TASK, Manifest

LISTED = 5  # names that are listed; the rest are only counted
SAME_NAMES, UNTRAINED, IN_TASKS, MISSING, EMPTY, REPEATED = (
    "names alike",
    "untrained classes",
    "untrained in tasks",
    "missing classes",
    "empty splits",
    "repeated images",
)  # topics of notes


def checked(manifest: Manifest, split: str, allow_untrained: bool = False) -> Manifest:
    """The manifest with the notes of `told`, if a run that is evaluated on `split` can use it.

    Raises InputError, in one line, for the first of `faults`.
    """
    found = faults(manifest, split, allow_untrained)
    if found:
        raise InputError(found[0])
    return told(manifest, allow_untrained)


def told(manifest: Manifest, allow_untrained: bool = False) -> Manifest:
    """The manifest with notes on names that are all but equal, on classes that are tested and never
    trained (at all, or in their task), on classes that an experience lacks in some split, on splits that are empty, and
    on images that an experience lists twice."""
    untrained = untrained_classes(manifest)
    found = {
        SAME_NAMES: "; ".join(
            f"{kind} {each}"
            for kind, names in (
                ("classes", manifest.classes),
                ("experiences", manifest.experience_names),
                ("recordings", manifest.table.recording.unique()),
            )
            for each in alike(names)
        ),
        UNTRAINED: some(untrained.values(), "; ") + (", as untrained: allow lets it" if allow_untrained else "")
        if untrained
        else "",
        IN_TASKS: some(_untrained_in_tasks(manifest)),
        MISSING: missing_classes(manifest),
        EMPTY: some(empty_splits(manifest, SPLITS), "; "),
        REPEATED: _repeated(manifest),
    }
    kept = {topic: note for topic, note in manifest.notes.items() if topic not in found}
    return replace(manifest, notes={**kept, **{topic: note for topic, note in found.items() if note}})


def faults(manifest: Manifest, split: str, allow_untrained: bool = False) -> list[str]:
    """Why a run that is evaluated on `split` (`test` or `validation`) refuses a manifest, a line each; none if it can.

    It refuses an experience without training images or without images in that split, an image that is in two splits
    under different names, and, unless `allow_untrained`, a class that has test or validation images but no training
    image in any experience.
    """
    lines = []
    if manifest.val_as_replay and split == "validation":
        lines.append(
            "benchmark.val_as_replay trains on validation images, on which evaluation.split: validation would test"
        )
    lines += [f"{manifest.root}: {each}" for each in empty_splits(manifest, ("train", split))]
    clash = two_splits(manifest)
    lines += [clash] if clash else []
    untrained = untrained_classes(manifest)
    if untrained and not allow_untrained:
        lines.append(
            f"{manifest.root}: {some(untrained.values(), '; ')}; name each class alike in all splits, or set "
            "benchmark.untrained: allow"
        )
    return lines


def empty_splits(manifest: Manifest, splits: Iterable[str]) -> list[str]:
    """`experience 'photo' has no test images` for each experience and each of these splits that has none."""
    table = manifest.table
    present = set(zip(table.experience, table.split, strict=True))
    return [
        f"experience {name!r} has no {split} images"
        for index, name in enumerate(manifest.experience_names)
        for split in splits
        if (index, split) not in present
    ]


def two_splits(manifest: Manifest) -> str:
    """One line about the first image that is in two splits, whatever its names; empty if there is none."""
    if manifest.stacked is None:
        images = same_files(manifest.files())
    elif POSITION in manifest.table.columns:
        images = manifest.table[POSITION].to_numpy()
    else:
        return ""  # each row is a position of its own
    rows = manifest.table[["path", "split", "experience"]].assign(image=images)
    different = rows.drop_duplicates(["image", "split"])
    twice = different[different.image.duplicated(keep=False)]
    if twice.empty:
        return ""
    one, two = twice[twice.image == twice.image.iloc[0]].iloc[:2].to_dict("records")
    places = [f"{row['split']} of {manifest.experience_names[row['experience']]!r}" for row in (one, two)]
    also = "" if one["path"] == two["path"] else f" (as {two['path']})"
    more = twice.image.nunique() - 1
    others = f" (and {more} more)" if more else ""
    where = f"{one['path']} is in {places[0]} and in {places[1]}{also}{others}"
    return f"{manifest.root}: {where}; no image may be in two splits"


def untrained_classes(manifest: Manifest) -> dict[str, str]:
    """The classes with test or validation images but no training image anywhere: name -> what to say about it."""
    counts = manifest.table.groupby(["label", "split"]).size().unstack(fill_value=0)
    counts = counts.reindex(columns=list(SPLITS), fill_value=0)
    trained = [str(manifest.classes[label]) for label in counts.index[counts.train > 0]]
    said = {}
    for label, row in counts[counts.train == 0].iterrows():
        name = manifest.classes[int(str(label))]
        there = " and ".join(f"{split} images ({row[split]})" for split in ("test", "validation") if row[split])
        said[str(name)] = f"class {str(name)!r} has {there} but no training image{_near(str(name), trained)}"
    return said


def _near(name: str, trained: Sequence[str]) -> str:
    """A remark on the trained class that may be meant by a name; empty if none is trained."""
    for other in trained:
        if folded(other) == folded(name):
            return f" (the trained {other!r} differs in {difference(name, other)} only)"
    close = difflib.get_close_matches(folded(name), [folded(other) for other in trained], n=1, cutoff=0)
    if not close:
        return ""
    return f" (the nearest trained class is {next(other for other in trained if folded(other) == close[0])!r})"


def _composed(text: str) -> str:
    """Without what cannot be seen (zero-width and direction marks), in the composed form of Unicode."""
    return unicodedata.normalize("NFKC", "".join(c for c in text if unicodedata.category(c) != "Cf"))


def _unblanked(text: str) -> str:
    """Blanks of any kind once, and none at the ends."""
    return " ".join(text.split())


FOLDS: dict[str, Callable[[str], str]] = {
    "case": lambda text: text.casefold(),
    "blanks": _unblanked,
    "the Unicode form": _composed,
}


def folded(text: str, by: Iterable[str] = tuple(FOLDS)) -> str:
    """The text as it is compared: composed, in small letters, with single blanks."""
    names = [name for name in reversed(FOLDS) if name in set(by)]
    for name in [*names, *names]:  # twice: folded case may have to be composed again
        text = FOLDS[name](text)
    return text


def difference(one: str, two: str) -> str:
    """In which of case, blanks and the Unicode form two texts differ that are otherwise equal."""
    for count in range(1, len(FOLDS) + 1):
        for names in combinations(FOLDS, count):
            if folded(one, names) == folded(two, names):
                return " and ".join(names)
    return ""


def alike(names: Iterable[str]) -> list[str]:
    """`'cup' and 'Cup' (differ in case only)` for names that differ in case, blanks or the Unicode form only."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(folded(str(name)), []).append(str(name))
    return [
        f"{first!r} and {other!r} (differ in {difference(first, other)} only)"
        for first, *others in groups.values()
        for other in others
        if other != first
    ]


def missing_classes(manifest: Manifest) -> str:
    """Which experiences lack which classes, altogether or in one split, in one line; empty if none does.

    Where no class comes back, as in class-incremental streams, an experience lacks none of those of the others; where
    classes arrive beside new data, it lacks none of those to come.
    """
    table = manifest.table
    names = [str(name) for name in manifest.classes]
    there = {key: {names[label] for label in set(rows)} for key, rows in table.groupby(["experience", "split"]).label}
    whole = [set[str]().union(*(there.get((e, split), ()) for split in SPLITS)) for e in range(manifest.experiences)]
    comes_back = sum(map(len, whole)) > len(set[str]().union(*whole))
    said = []
    for index, experience in enumerate(manifest.experience_names):
        there_by_now = set[str]().union(*whole[:index]) if manifest.placed else set(names)
        lacking = [name for name in names if name in there_by_now - whole[index]] if comes_back else []
        parts = [some(_quoted(sorted(lacking)))] if lacking else []
        for split in SPLITS:
            own = there.get((index, split))
            if own:  # an empty split is told as such
                gone = sorted(whole[index] - own)
                parts += [f"{split} images of {some(map(repr, gone))}"] if gone else []
        if parts:
            said.append(f"{experience!r} has no {', no '.join(parts)}")
    return "; ".join(said)


def _quoted(names: Iterable[str]) -> list[str]:
    """Names as they are, but in quotes if they are not plain words."""
    return [name if name.isidentifier() else repr(name) for name in names]


def _untrained_in_tasks(manifest: Manifest) -> list[str]:
    """Classes tested under a task label under which they are never trained, though under another: an output layer for
    each task (`head.per_task`) does not know them."""
    if TASK not in manifest.table.columns:
        return []
    pairs = manifest.table[[TASK, "class_name", "split"]].drop_duplicates()
    trained = set(pairs[pairs.split == "train"][[TASK, "class_name"]].itertuples(index=False, name=None))
    somewhere = {name for _, name in trained}
    tested = pairs[(pairs.split == "test") & pairs.class_name.isin(somewhere)]
    return [
        f"task {task} tests {name!r} and does not train it"
        for task, name in tested[[TASK, "class_name"]].itertuples(index=False, name=None)
        if (task, name) not in trained
    ]


def _repeated(manifest: Manifest) -> str:
    if manifest.stacked is not None:
        return ""
    again = manifest.table.path[manifest.table.duplicated(["path", "experience"])]
    return f"{len(again)} rows show an image again in its experience, such as {again.iloc[0]}" if len(again) else ""


def some(names: Iterable[str], between: str = ", ", most: int = LISTED) -> str:
    names = list(names)
    return between.join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
