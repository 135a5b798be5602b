"""When a result of Starling equals one of DuckDB.

Numbers agree when they are equal, or within 1e-9 relative, or within half a unit of the smaller scale of the two. A BOOLEAN is 0 or 1 in MySQL's protocol.
"""

import datetime
import decimal


def scale(value) -> int:
    if isinstance(value, decimal.Decimal):
        return max(0, -value.as_tuple().exponent)
    return 99


def same(a, b) -> bool:
    if a == b:
        return True
    if a is None or b is None or isinstance(a, str) or isinstance(b, str):
        return False
    if isinstance(a, (datetime.date, datetime.datetime)) or isinstance(b, (datetime.date, datetime.datetime)):
        return str(a) == str(b)
    x, y = float(a), float(b)
    smaller = min(scale(a), scale(b))
    return abs(x - y) <= 1e-9 * max(abs(x), abs(y)) or (smaller < 99 and abs(x - y) <= 0.5000001 * 10.0**-smaller)


def difference(ours, theirs):
    """The first difference of two lists of rows, as a sentence; None when they are equal."""
    if len(ours) != len(theirs):
        return f"{len(ours)} rows, DuckDB has {len(theirs)}"
    for number, (a, b) in enumerate(zip(ours, theirs)):
        if len(a) != len(b) or not all(same(x, y) for x, y in zip(a, b)):
            return f"row {number}: {a}, DuckDB has {b}"
    return None


def in_any_order(rows) -> list:
    """Rows in an order that two engines agree on: numbers count to six digits here, so that sums of DOUBLEs do not decide it."""

    def key(value):
        if value is None:
            return (0, "")
        if isinstance(value, (int, float, decimal.Decimal)):
            return (1, f"{float(value) + 0.0:+.5e}")  # no minus zero
        return (2, str(value))

    return sorted(rows, key=lambda row: [key(value) for value in row])
