"""Parts of index files that do not fit each other: for each array and parameter what a forger may have made of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from fuzz import forge

Change = Callable[[dict[str, Any], dict[str, np.ndarray]], None]


def put(name: str, at: Any, value: Any) -> Change:
    """Element `at` of an array becomes `value`, or what `value` makes of it."""

    def change(meta: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        arrays[name] = arrays[name].copy()
        arrays[name][at] = value(arrays[name][at]) if callable(value) else value

    return change


def become(name: str, make: Callable[[np.ndarray], np.ndarray]) -> Change:
    def change(meta: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        arrays[name] = make(arrays[name])

    return change


def say(**values: Any) -> Change:
    return lambda meta, arrays: meta.update(values)


def params(**values: Any) -> Change:
    """Parameters of the quantizer become others, or what a value makes of them."""

    def change(meta: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        held = meta["quantizer"]["params"]
        for name, value in values.items():
            held[name] = value(held[name]) if callable(value) else value

    return change


def quantizer(**values: Any) -> Change:
    return lambda meta, arrays: meta["quantizer"].update(values)


def forget(name: str) -> Change:
    def change(meta: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        (meta if name in meta else arrays).pop(name)

    return change


def swap(a: str, b: str) -> Change:
    return lambda meta, arrays: arrays.update({a: arrays[b], b: arrays[a]})


def calibrate(**values: Any) -> Change:
    def change(meta: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        meta["calibration"] = {"efforts": [1.0, 2.0], "recalls": {"1": [0.5, 1.0]}, "source": "base"} | values

    return change


def slots(value: Any) -> Change:
    """The slots at the end of the first block are what `value` makes of them."""

    def change(meta: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        blocks = arrays["lists.blocks"] = arrays["lists.blocks"].copy()
        view = blocks[0, -128:].view(np.uint32)
        view[:] = value(view.copy())

    return change


ANY: dict[str, Change] = {
    "a metric that there is not": say(metric="l3"),
    "a metric that is a number": say(metric=2),
    "no metric": forget("metric"),
    "no dimension": forget("dim"),
    "a dimension of nothing": say(dim=0),
    "a dimension beyond all": say(dim=65537),
    "a huge dimension": say(dim=2**62),
    "another dimension": say(dim=28),
    "a dimension that is none": say(dim="12"),
    "one vector more": say(n=45),
    "one vector less": say(n=43),
    "fewer than no vectors": say(n=-1),
    "half a vector": say(n=44.5),
    "vectors beyond all": say(n=2**32),
    "a dtype that there is not": say(dtype="f64"),
    "a seed that is none": say(seed=-1),
    "no ids": forget("ids"),
    "an id twice": become("ids", lambda a: np.append(a[:-1], a[0])),
    "an id below zero": put("ids", 0, -1),
    "ids of another width": become("ids", lambda a: a.astype(np.int32)),
    "ids in a table": become("ids", lambda a: a[:, None]),
    "too few ids": become("ids", lambda a: a[:-1]),
    "a calibration that is a list": lambda meta, arrays: meta.update(calibration=[1, 2]),
    "a calibration without curves": calibrate(recalls={}),
    "a calibration that falls": calibrate(recalls={"1": [0.9, 0.5]}),
    "a calibration of other length": calibrate(recalls={"1": [0.9]}),
    "a calibration for no neighbours": calibrate(recalls={"0": [0.5, 1.0]}),
    "a calibration for a word": calibrate(recalls={"ten": [0.5, 1.0]}),
    "a calibration of a list": calibrate(recalls=[[0.5, 1.0]]),
    "a calibration without effort": calibrate(efforts=[0.0, 1.0]),
    "a calibration from nowhere": calibrate(source="x"),
    "a calibration of words": calibrate(efforts=["a", "b"]),
}
STORED: dict[str, Change] = {
    "no rows": forget("store.rows"),
    "a row less": become("store.rows", lambda a: a[:-1]),
    "a row more": become("store.rows", lambda a: np.concatenate([a, a[:1]])),
    "narrow rows": become("store.rows", lambda a: a[:, :-1]),
    "rows of another width": become("store.rows", lambda a: a.astype(np.float64)),
    "rows in a line": become("store.rows", lambda a: a.reshape(-1)),
}
FACTORS: dict[str, Change] = {
    "no factors": forget("store.factors"),
    "a factor less": become("store.factors", lambda a: a[:-1]),
    "a factor each": become("store.factors", lambda a: a[:, :1]),
    "wide factors": become("store.factors", lambda a: a.astype(np.float64)),
}
LISTED: dict[str, Change] = {
    "a list too long": put("lists.size", 0, lambda x: x + 1),
    "a list too short": put("lists.size", 0, lambda x: x - 1),
    "a list beyond all": put("lists.size", 0, 2**32 - 1),
    "lists of no one": become("lists.size", np.zeros_like),
    "a list elsewhere": put("lists.block", -1, lambda x: x + 1),
    "a list far away": put("lists.block", 0, 2**32 - 1),
    "sizes of another width": become("lists.size", lambda a: a.astype(np.int64)),
    "a list less": become("lists.size", lambda a: a[:-1]),
    "a block less": become("lists.blocks", lambda a: a[:-1]),
    "a block more": become("lists.blocks", lambda a: np.concatenate([a, a[:1]])),
    "blocks too narrow": become("lists.blocks", lambda a: a[:, :-4]),
    "blocks of words": become("lists.blocks", lambda a: a.view(np.uint32)),
    "a slot beyond all": slots(lambda s: np.concatenate([[2**32 - 1], s[1:]])),
    "a slot that is not": slots(lambda s: np.concatenate([[44], s[1:]])),
    "a slot twice": slots(lambda s: np.concatenate([s[1:2], s[1:]])),
    "slots in another order": slots(lambda s: np.concatenate([s[1::-1], s[2:]])),
    "a position beyond all": put("lists.position", 5, 2**32 - 1),
    "two positions exchanged": become("lists.position", lambda a: np.concatenate([a[1::-1], a[2:]])),
    "positions of another width": become("lists.position", lambda a: a.astype(np.uint64)),
    "too few positions": become("lists.position", lambda a: a[:-1]),
    "no positions": forget("lists.position"),
    "sizes for blocks": swap("lists.size", "lists.position"),
    "a centroid that is no number": put("centroids", (0, 3), np.nan),
    "a centroid without end": put("centroids", (0, 0), np.inf),
    "a mean that is no number": put("mean", 1, np.nan),
    "a spread that is no number": put("spreads", 0, np.nan),
    "three spreads": become("spreads", lambda a: np.append(a, 1.0)),
    "narrow spreads": become("spreads", lambda a: a.astype(np.float32)),
    "no centroids": become("centroids", lambda a: a[:0]),
    "narrow centroids": become("centroids", lambda a: a[:, :-1]),
    "centroids in another form": become("centroids", lambda a: a[None]),
}


def lanes(name: str, row: int, value: Any) -> Change:
    """Slots at the end of a row, of neighbours or of entries, are what `value` makes of them."""

    def change(meta: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        arrays[name] = arrays[name].copy()
        view = arrays[name].view(np.uint32)[row, -32:]
        view[:] = value(view.copy())

    return change


LINKED: dict[str, Change] = {
    "a neighbour beyond all": lanes("rows", 3, lambda s: np.append(s[:-1], 2**32 - 1)),
    "a neighbour that is not": lanes("rows", -1, lambda s: np.append(44, s[1:])),
    "an entry beyond all": lanes("entries", 0, lambda s: np.append(2**31, s[1:])),
    "an entry that is not": lanes("entries", -1, lambda s: np.append(s[:-1], 44)),
    "no rows of vertices": forget("rows"),
    "a vertex less": become("rows", lambda a: a[:-1]),
    "a vertex more": become("rows", lambda a: np.concatenate([a, a[:1]])),
    "narrow vertices": become("rows", lambda a: a[:, :-64]),
    "vertices of words": become("rows", lambda a: a.view(np.uint32)),
    "vertices in a line": become("rows", lambda a: a.reshape(-1)),
    "no entries": forget("entries"),
    "entries of none": become("entries", lambda a: a[:0]),
    "narrow entries": become("entries", lambda a: a[:, :-4]),
    "entries as wide as vertices": lambda meta, arrays: arrays.update(entries=arrays["rows"]),
    "fewer than no entries": say(entries=-1),
    "no entry": say(entries=0),
    "more entries than vertices": say(entries=45),
    "entries that are no number": say(entries="3"),
    "no word of entries": forget("entries"),
    "a degree of nothing": say(degree=0),
    "a degree between": say(degree=48),
    "another degree": lambda meta, arrays: meta.update(degree=96),
    "rows of no kind": say(refine=None),
    "no scales": forget("scales"),
    "two scales": become("scales", lambda a: a[:2]),
    "narrow scales": become("scales", lambda a: a.astype(np.float32)),
    "a scale of nothing": put("scales", 0, 0.0),
    "a scale below nothing": put("scales", 1, -1.0),
    "a scale that is no number": put("scales", 0, np.nan),
    "a scale without end": put("scales", 1, np.inf),
    "a reach below nothing": put("scales", 2, -1.0),
    "a reach that is no number": put("scales", 2, np.nan),
    "a centre that is no number": put("mean", 0, np.nan),
    "a centre of another dimension": become("mean", lambda a: a[:-1]),
    "no centre": forget("mean"),
}
TIED: dict[str, Change] = {
    what: change
    for what, change in LINKED.items()
    if "entries" not in what and "entry" not in what and "scale" not in what and "reach" not in what
} | {
    "rows of no kind": say(refine="f64"),
    "a layout that there is not": say(layout="small"),
    "another layout": say(layout="fast"),
    "no entries": forget("entries"),
    "entries of none": become("entries", lambda a: a[:0]),
    "an entry that is not": put("entries", 0, 44),
    "an entry beyond all": put("entries", -1, 2**32 - 1),
    "entries of another width": become("entries", lambda a: a.astype(np.int64)),
    "fewer than no entries": say(entries=-1),
    "one entry less": say(entries=43),
    "no scales": forget("scales"),
    "two scales": become("scales", lambda a: np.append(a, a)),
    "a reach below nothing": put("scales", 0, -1.0),
    "a reach that is no number": put("scales", 0, np.nan),
}
"""The same for the compact layout."""
LIFTED: dict[str, Change] = {
    "no lifts": forget("lifts"),
    "a lift less": become("lifts", lambda a: a[:-1]),
    "a lift that is no number": put("lifts", 1, np.nan),
    "lifts in a table": become("lifts", lambda a: a[None]),
    "lifts of another width": become("lifts", lambda a: a.astype(np.float64)),
}
EXTRA: dict[str, Change] = {
    "no extra bits": forget("extra"),
    "extra bits of one less": become("extra", lambda a: a[:-1]),
    "narrow extra bits": become("extra", lambda a: a[:, :-8]),
    "extra bits as words": become("extra", lambda a: a.view(np.uint16)),
}
ROTATED: dict[str, Change] = {
    "a rotation too short": become("rotation", lambda a: a[:-1]),
    "a rotation of words": become("rotation", lambda a: a.view(np.uint16)),
    "a rotation in a table": become("rotation", lambda a: a[None]),
    "no rotation": forget("rotation"),
}
CODED: dict[str, Change] = {
    "no word of the quantizer": forget("quantizer"),
    "no quantizer": say(quantizer=None),
    "a quantizer in a list": say(quantizer=["rabitq"]),
    "a quantizer by its name": say(quantizer="rabitq"),
    "a quantizer that there is not": quantizer(name="zip"),
    "a quantizer without a name": quantizer(name=None),
    "another quantizer": lambda meta, arrays: quantizer(name="osq" if name_of(meta) != "osq" else "pq")(meta, arrays),
    "no parameters": quantizer(params=None),
    "parameters in a list": quantizer(params=[4]),
    "parameters of something else": quantizer(params={"bits": 4, "colour": "red"}),
    "bits beyond all": params(bits=9),
    "no bits": params(bits=0),
    "bits that are none": params(bits="4"),
    "a seed of its own that is none": params(seed=-1),
}
COMPACT: dict[str, Change] = {
    "no compact factors": forget("compact"),
    "compact factors of one less": become("compact", lambda a: a[:-1]),
    "compact factors of another width": become("compact", lambda a: a.astype(np.float64)),
    "compact factors in a table": become("compact", lambda a: a[None]),
    "a step that is no number": put("compact", 3, np.nan),
    "a step without end": put("compact", 4, np.inf),
    "a wobble below nothing": put("compact", 10, -0.1),
    "a factor that is no number": put("compact", 0, np.nan),
}


def rotations(name: str) -> dict[str, Change]:
    """The same for a rotation that belongs to a quantizer, whose bits decide how wide the rows are."""
    return {
        "bits that are fewer": params(bits=lambda bits: bits - 1),
        "a rotation too short": become(name, lambda a: a[:-1]),
        "a rotation of words": become(name, lambda a: a.view(np.uint16)),
        "no rotation": forget(name),
    }


BASE, QUERY, INVERSE, PADDING = "quantizer.base", "quantizer.query", "quantizer.inverse", "quantizer.padding"
MATRIX: dict[str, Change] = {
    "no matrix": forget(BASE),
    "a matrix of no rows": become(BASE, lambda a: a[:0]),
    "a matrix of one row less": become(BASE, lambda a: a[:-1]),
    "a matrix of as many more": become(BASE, lambda a: np.concatenate([a, a])),
    "a narrow matrix": become(BASE, lambda a: a[:, :-1]),
    "a matrix of another width": become(BASE, lambda a: a.astype(np.float64)),
    "a matrix in a line": become(BASE, np.ravel),
    "a matrix that is no number": put(BASE, (0, 0), np.nan),
    "a way back alone": lambda meta, arrays: (
        arrays.pop(QUERY, None),
        arrays.update({INVERSE: np.ascontiguousarray(arrays[BASE].T)}),
    ),
}
MATRICES: dict[str, Change] = {
    "no matrix for queries": forget(QUERY),
    "no way back": forget(INVERSE),
    "a matrix on end": become(INVERSE, lambda a: np.ascontiguousarray(a.T)),
    "a matrix for queries in a line": become(QUERY, np.ravel),
    "a matrix without end": put(QUERY, (1, 1), np.inf),
    "a way back that is no number": put(INVERSE, (2, 3), np.nan),
}
PADDED: dict[str, Change] = {
    "no padding": forget(PADDING),
    "padding in a table": become(PADDING, lambda a: a[None]),
    "padding of another width": become(PADDING, lambda a: a.astype(np.int32)),
    "padding for other vectors": put(PADDING, 0, 2**40),
}
SEGMENTS, SCALES, LEVELS = "quantizer.segments", "quantizer.scales", "quantizer.levels"
LEVELLED: dict[str, Change] = {
    "no segments": forget(SEGMENTS),
    "segments of none": become(SEGMENTS, lambda a: a[:0]),
    "segments of another width": become(SEGMENTS, lambda a: a.astype(np.int32)),
    "narrow segments": become(SEGMENTS, lambda a: a[:, :3]),
    "a segment below zero": put(SEGMENTS, (0, 0), -16),
    "a segment beyond the end": put(SEGMENTS, (0, 0), 65536),
    "a segment that overflows": put(SEGMENTS, (0, 1), 2**62),
    "a segment of nothing": put(SEGMENTS, (0, 1), 0),
    "a segment of odd length": put(SEGMENTS, (0, 1), 12),
    "a segment without bits": put(SEGMENTS, (0, 2), 0),
    "a segment of nine bits": put(SEGMENTS, (0, 2), 9),
    "a segment of 63 bits": put(SEGMENTS, (0, 2), 63),
    "a segment of other bits": put(SEGMENTS, (0, 2), lambda x: x - 1 if x > 1 else x + 1),
    "a prefix of three bits": put(SEGMENTS, (0, 3), 3),
    "a prefix of more than all": put(SEGMENTS, (0, 3), 8),
    "segments twice": become(SEGMENTS, lambda a: np.concatenate([a, a])),
    "no scales": forget(SCALES),
    "a scale of zero": put(SCALES, (0, 0), 0),
    "a weight below zero": put(SCALES, (0, 1), -1),
    "a scale that is no number": put(SCALES, (0, 0), np.nan),
    "scales in a line": become(SCALES, np.ravel),
    "no levels": forget(LEVELS),
    "a level less": become(LEVELS, lambda a: a[:-1]),
    "levels that descend": become(LEVELS, lambda a: a[::-1]),
    "levels all alike": become(LEVELS, np.zeros_like),
    "a level without end": put(LEVELS, -1, np.inf),
    "a level that is no number": put(LEVELS, 0, np.nan),
    "no levels of prefixes": forget("quantizer.prefix_levels"),
    "a level of prefixes less": become("quantizer.prefix_levels", lambda a: a[:-1]),
}
PLANNED: dict[str, Change] = {
    "no plan": forget("quantizer.plan.lengths"),
    "no widths": forget("quantizer.plan.widths"),
    "a width less": become("quantizer.plan.widths", lambda a: a[:-1]),
    "lengths of another width": become("quantizer.plan.lengths", lambda a: a.astype(np.int32)),
    "widths in a table": become("quantizer.plan.widths", lambda a: a[None]),
    "nothing told": become("quantizer.plan.told", lambda a: a[:0]),
    "a narrow profile": become("quantizer.profile", lambda a: a[:, :-1]),
    "a profile that is no number": put("quantizer.profile", (0, 0), np.nan),
}


def name_of(meta: dict[str, Any]) -> str:
    return str(meta["quantizer"]["name"])


def forgeries(part: forge.Parts) -> dict[str, Change]:
    """Those that concern a file."""
    tables = [
        (ANY, "ids"),
        (STORED, "store.rows"),
        (FACTORS, "store.factors"),
        (LISTED, "lists.size"),
        (TIED if part.meta.get("layout") == "compact" else LINKED, "entries"),
        (LIFTED, "lifts"),
        (ROTATED, "rotation"),
        (EXTRA, "extra"),
        (COMPACT, "compact"),
        (MATRIX, BASE),
        (MATRICES, QUERY),
        (PADDED, PADDING),
        (LEVELLED, SEGMENTS),
        (PLANNED, "quantizer.plan.lengths"),
        (rotations("quantizer.rotation"), "quantizer.rotation"),
    ]
    unheard = {"a dtype that there is not"} if "dtype" not in part.meta else set()
    found = {what: change for table, needs in tables if needs in part.arrays for what, change in table.items()}
    coded = CODED if part.meta.get("quantizer") is not None else {}
    bits = "bits" in part.meta["quantizer"]["params"] if coded else False
    found |= {what: change for what, change in coded.items() if bits or "bits" not in what}
    return {what: change for what, change in found.items() if what not in unheard}
