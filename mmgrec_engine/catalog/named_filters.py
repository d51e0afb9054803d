"""Filters with a name, uploaded once and combined per request: "in_stock and not adult"."""

from __future__ import annotations

import ast
import keyword
import threading
import unicodedata
from collections import OrderedDict

import numpy as np
from numpy.typing import NDArray

from mmgrec_engine.catalog.leaf_sets import LeafSet
from mmgrec_engine.errors import RequestError

MOST_COMBINATIONS = 64
"""Combined sets that are kept for the next request; each takes a bit per item."""

LONGEST_EXPRESSION = 1000
"""Characters; what is longer is refused before it is parsed."""

_EXAMPLE = 'names combined by and, or, not and parentheses, e.g. "in_stock_de and not adult"'


class NamedFilters:
    """Sets of items by name, and their combinations.

    Items are rows: numbers that an item keeps as long as it exists. Safe to use from many threads.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sets: dict[str, LeafSet] = {}
        self._combined: OrderedDict[tuple[str, int], LeafSet] = OrderedDict()

    def names(self) -> list[str]:
        """Return the names of all sets."""
        return sorted(self._sets)

    def set(self, name: str, rows: NDArray[np.int64], num_rows: int) -> None:
        """Upload a set, in place of one that has the name already.

        Parameters
        ----------
        name : str
            Letters, digits and underscores; no word of Python, such as ``not``.
        rows : array
            Rows of its items, in any order.
        num_rows : int
            Rows that exist now; items that come later are in no set until it is uploaded again.

        Raises
        ------
        RequestError
            The name cannot be used in an expression.
        """
        # What the parser would read as another name, or as none, could never be asked for.
        plain = unicodedata.normalize("NFKC", name) == name and len(name) <= LONGEST_EXPRESSION
        if not plain or not name.isidentifier() or keyword.iskeyword(name):
            raise RequestError(
                "a filter cannot have this name",
                value=repr(name),
                allowed="letters, digits and underscores, not beginning with a digit; no word of "
                "Python such as not, in, if",
            )
        made = LeafSet.of(rows, num_rows)
        with self._lock:
            self._sets[name] = made
            self._combined.clear()

    def remove(self, name: str) -> None:
        """Forget a set.

        Raises
        ------
        RequestError
            There is none of this name.
        """
        with self._lock:
            if self._sets.pop(name, None) is None:
                raise self._unknown(name)
            self._combined.clear()

    def resolve(self, expression: str, num_rows: int) -> LeafSet:
        """Return the rows that an expression lets through.

        ::

            parse once; and, or, not are bitwise operations on whole sets; the result is kept

        Parameters
        ----------
        expression : str
            Names with ``and``, ``or``, ``not`` and parentheses.
        num_rows : int
            Rows that exist now.

        Raises
        ------
        RequestError
            It cannot be parsed, or names an unknown set.
        """
        key = (expression, num_rows)
        with self._lock:
            found = self._combined.get(key)
            if found is None:
                found = self._combined[key] = self._read(expression, num_rows)
                while len(self._combined) > MOST_COMBINATIONS:
                    self._combined.popitem(last=False)
            else:
                self._combined.move_to_end(key)
            return found

    def _read(self, expression: str, num_rows: int) -> LeafSet:
        if len(expression) > LONGEST_EXPRESSION:
            raise RequestError(
                "a filter expression is too long",
                value=f"{len(expression)} characters",
                allowed=f"at most {LONGEST_EXPRESSION}",
            )
        try:
            return self._evaluate(ast.parse(expression.strip(), mode="eval").body, num_rows)
        # Too deep: for the parser, or for a message about a part that is no filter.
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            raise RequestError(
                "a filter expression cannot be read", value=repr(expression), allowed=_EXAMPLE
            ) from None

    def _evaluate(self, node: ast.expr, num_rows: int) -> LeafSet:
        if isinstance(node, ast.Name):
            if node.id not in self._sets:
                raise self._unknown(node.id)
            return self._sets[node.id].resized(num_rows)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            return ~self._evaluate(node.operand, num_rows)
        if isinstance(node, ast.BoolOp):
            parts = [self._evaluate(part, num_rows) for part in node.values]
            result = parts[0]
            for part in parts[1:]:
                result = result & part if isinstance(node.op, ast.And) else result | part
            return result
        raise RequestError(
            "a filter expression has a part that is no filter",
            value=repr(ast.unparse(node)),
            allowed=_EXAMPLE,
        )

    def _unknown(self, name: str) -> RequestError:
        return RequestError(
            "unknown filter",
            value=repr(name),
            allowed=", ".join(self.names()) or "none was uploaded",
            remedy="upload it with engine.set_filter",
        )
