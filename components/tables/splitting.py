"""Which row goes to train, validation or test.

Rows whose features are equal after rounding stay together, so that no model is tested on what it was trained on. Within
each class (or tenth of a regression target) groups are ordered by a hash of their content and the seed, and the order
is cut at 60 and 80 percent. A row's place therefore hardly depends on the other rows: when data grows, test rows stay
test rows, and a new model and the champion can be compared on rows that neither has seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    from numpy.typing import NDArray

CUTS = (0.6, 0.8)
DIGITS = 5
"""Significant digits of a number by which two rows are told apart."""
FEW_GROUPS = 50
"""A table with fewer distinct rows than this, each many times, has repeats by nature; it is split row by row."""
LARGE_SHARE = 0.1
"""A group with a larger share of its class than this goes to train: elsewhere it would be all there is."""
BINS = 10
LEFT_OUT = -1

_PRIME = np.uint64(0x9E3779B97F4A7C15)


def row_keys(batch: pa.RecordBatch, columns: Sequence[str], *, exact: bool = False) -> NDArray[np.uint64]:
    """Return a 64-bit key per row; rows with equal values have equal keys.

    Args:
        exact: Compare values as they are; else numbers by 5 significant digits, text without case and outer space.
    """
    keys = np.full(batch.num_rows, 0x243F6A8885A308D3, dtype=np.uint64)
    for name in columns:
        keys = _mixed(keys * _PRIME + _value_keys(batch.column(name), exact))
    return keys


def split_rows(
    keys: NDArray[np.uint64], target: NDArray[Any], *, regression: bool, seed: int
) -> tuple[NDArray[np.int8], bool]:
    """Return the split of each row (0 train, 1 validation, 2 test) and whether groups were kept together.

    Args:
        target: Class positions, or the values of a regression.
    """
    strata = _bins(target) if regression else target.astype(np.int64)
    groups, group_of = np.unique(keys, return_inverse=True)
    grouped = not (len(groups) < FEW_GROUPS and len(keys) >= 10 * len(groups))
    if not grouped:
        groups, group_of = _rows_as_groups(keys)
    stratum = _rarest_stratum(group_of, strata, len(groups))
    own, large = _own_rows(group_of, strata, stratum)
    order = _mixed(groups ^ _mixed(np.full(len(groups), seed, dtype=np.uint64) * _PRIME))
    places = np.empty(len(groups), dtype=np.int8)
    for one in np.unique(stratum):
        members = np.flatnonzero(stratum == one)
        members = members[np.lexsort((order[members], ~large[members]))]
        places[members] = _cut(own[members])
    return places[group_of], grouped


def _own_rows(
    group_of: NDArray[Any], strata: NDArray[np.int64], stratum: NDArray[np.int64]
) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """Return how many rows of its own stratum each group has, and whether it is large for any stratum it has rows of.

    A stratum is cut by its own rows only: a thousand equal rows of which one is of a rare class count as one of its
    rows, or they would fill the rare class's share of train and leave the rest of it to the other splits.
    """
    _, positions, totals = np.unique(strata, return_inverse=True, return_counts=True)
    pairs, counts = np.unique(group_of * len(totals) + positions, return_counts=True)
    pair_group, pair_stratum = np.divmod(pairs, len(totals))
    own = np.zeros(len(stratum), dtype=np.intp)
    mine = np.unique(strata)[pair_stratum] == stratum[pair_group]
    own[pair_group[mine]] = counts[mine]
    large = np.zeros(len(stratum), dtype=np.bool_)
    large[pair_group[counts > LARGE_SHARE * totals[pair_stratum]]] = True
    return own, large


def _value_keys(array: pa.Array, exact: bool) -> NDArray[np.uint64]:
    if array.type == pa.string():
        return _text_keys(array if exact else pc.utf8_lower(pc.utf8_trim_whitespace(array)))
    if pa.types.is_timestamp(array.type):
        array = pc.cast(array, pa.int64())
        exact = True
    numbers = pc.cast(array, pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    return (numbers if exact else rounded(numbers)).astype(np.float64).view(np.uint64) + np.uint64(1)


def rounded(numbers: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the numbers with 5 significant digits; every NaN and every zero has the same bits."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        exponents = np.floor(np.log10(np.abs(numbers)))
        scale = np.power(10.0, np.nan_to_num(DIGITS - 1 - exponents, nan=0.0, posinf=0.0, neginf=0.0))
        whole = np.rint(numbers * scale)
        result = np.where(np.isfinite(scale) & (scale > 0), whole / scale, numbers)
    return np.where(np.isnan(result), np.nan, result + 0.0)


def _text_keys(array: pa.Array) -> NDArray[np.uint64]:
    from pandas.util import hash_array

    encoded = array.dictionary_encode()
    hashes = hash_array(encoded.dictionary.to_numpy(zero_copy_only=False), categorize=False)
    known: NDArray[np.uint64] = np.append(hashes, np.uint64(0)).astype(np.uint64)
    codes = pc.fill_null(encoded.indices, len(known) - 1).to_numpy(zero_copy_only=False)
    keys: NDArray[np.uint64] = known[codes]
    return keys


def _mixed(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return the values with their bits spread (the finaliser of SplitMix64, Steele et al. 2014)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def _bins(target: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return which tenth of the target each row is in; fewer bins when rows are few."""
    number = max(1, min(BINS, len(target) // 30))
    edges = np.quantile(target, np.linspace(0, 1, number + 1)[1:-1])
    return np.searchsorted(edges, target, side="right").astype(np.int64)


def _rows_as_groups(keys: NDArray[np.uint64]) -> tuple[NDArray[np.uint64], NDArray[np.intp]]:
    numbers = np.arange(len(keys))
    return _mixed(keys + numbers.astype(np.uint64) * _PRIME), numbers


def _rarest_stratum(group_of: NDArray[Any], strata: NDArray[np.int64], number: int) -> NDArray[np.int64]:
    """Return a stratum per group: of its rows' strata the rarest, so that rare classes are spread first."""
    _, positions, counts = np.unique(strata, return_inverse=True, return_counts=True)
    by_rarity = np.argsort(-counts[positions], kind="stable")
    result = np.zeros(number, dtype=np.int64)
    result[group_of[by_rarity]] = strata[by_rarity]
    return result


def _cut(sizes: NDArray[np.intp]) -> NDArray[np.int8]:
    """Return the split of groups in order; three groups or more reach all three splits, two reach train and test."""
    middles = np.cumsum(sizes) - sizes / 2
    places = np.searchsorted(np.array(CUTS) * sizes.sum(), middles, side="right").astype(np.int8)
    if len(sizes) >= 3:
        places[0], places[-1] = 0, 2
        if 1 not in places:
            places[-2] = 1
        if len(sizes) == 3:
            places[1] = 1
    elif len(sizes) == 2:
        places[:] = (0, 2)
    else:
        places[:] = 0
    return places
