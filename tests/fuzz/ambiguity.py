"""How much work a regular expression can be made to do: shown on its automaton, not measured.

Python's engine tries one way after the other. With the number of ways in which a text can be read, the time grows:
exponentially where a loop can read the same octets in two ways, quadratically where two loops, one behind the
other, can share them out. For ``search`` and its kind there is one more loop, in front: the match may begin anywhere.

The expression becomes its position automaton (Glushkov 1961), one state for each character in it, and the two
criteria of Weber and Seidl ("On the degree of ambiguity of finite automata", 1991) are searched for in products of
it. Conditions on the characters before and behind a place (``\\b``, ``^``, lookarounds of one character) are part of
the transitions. Where Python's engine does less than the automaton says (an atomic group) the answer errs on the side
of caution; counted repeats of up to COUNTED are taken for what they cost, a constant.
"""

from __future__ import annotations

import re
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from itertools import product
from re import _constants as op  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any, NamedTuple

COUNTED = 512
"""``{m,n}`` up to this multiplies the work by a constant; above it counts as a loop."""
COPIES = 3
_SAMPLES = "\x00\t\n\r !-0:AZ_az~\x7f\x85\xa0\xe9\u0130\u0660\u2028\u4e00\udc80\U0001f600"


class Part(NamedTuple):
    """A piece of the automaton: where it can begin and end, and under which conditions it can be empty."""

    first: list[tuple[int, int]]
    last: list[tuple[int, int]]
    empty: list[int]


class Automaton:
    """The positions of one expression. Conditions are bit sets of (character before, character behind)."""

    def __init__(self, pattern: str | bytes, flags: int = 0) -> None:
        tree = parser.parse(pattern, flags)
        self.flags = tree.state.flags
        self.is_text = isinstance(pattern, str)
        self.alphabet = self._classes(tree)
        self.size = len(self.alphabet) + 1  # and the end of the text
        self.all = (1 << self.size * self.size) - 1
        self.sets: list[frozenset[int]] = []
        self.edges: dict[int, dict[int, list[int]]] = defaultdict(lambda: defaultdict(list))
        self.whole = self._sequence(tree, self.flags)
        self.steps_known: dict[tuple[int, int], dict[int, list[tuple[int, int]]]] = {}

    # -- characters

    def _classes(self, tree: Any) -> list[int]:
        """One character of each kind that the expression can tell apart."""
        atoms = list(_atoms(tree, self.flags))
        points = set(map(ord, _SAMPLES))
        for node, _ in atoms:
            for low, high in _ranges(node):
                for edge in (low - 1, low, high, high + 1):
                    points |= {edge, ord(chr(max(0, edge)).lower()[0]), ord(chr(max(0, edge)).upper()[0])}
        limit = 0x110000 if self.is_text else 0x100
        found: dict[tuple[bool, ...], int] = {}
        for point in sorted(point for point in points if 0 <= point < limit):
            key = (point == 10, _is_word(point, self.is_text, self.flags))
            found.setdefault((*key, *(self._reads(node, flags, point) for node, flags in atoms)), point)
        return list(found.values())

    def _reads(self, node: Any, flags: int, point: int) -> bool:
        """Whether a single-character node reads it."""
        kind, value = node
        variants = {point}
        if flags & re.IGNORECASE:
            char = chr(point)
            variants |= {ord(other) for other in (char.lower(), char.upper()) if len(other) == 1}
        if kind is op.LITERAL:
            return value in variants
        if kind is op.NOT_LITERAL:
            return value not in variants
        if kind is op.ANY:
            return bool(flags & re.DOTALL) or point != 10
        negated = value[0][0] is op.NEGATE
        inside = any(
            (what is op.LITERAL and given in variants)
            or (what is op.RANGE and any(given[0] <= one <= given[1] for one in variants))
            or (what is op.CATEGORY and _in_category(given, point, self.is_text, flags))
            for what, given in value[negated:]
        )
        return inside is not negated

    def _set(self, node: Any, flags: int) -> frozenset[int]:
        return frozenset(
            index for index, point in enumerate(self.alphabet) if self._reads(node, flags, point)
        )

    def _where(self, test: Callable[[int, int], bool]) -> int:
        return sum(
            1 << before * self.size + behind
            for before in range(self.size)
            for behind in range(self.size)
            if test(before, behind)
        )

    # -- the expression

    def _sequence(self, tree: Any, flags: int) -> Part:
        made = Part([], [], [self.all])
        for node in tree:
            made = self._then(made, self._node(node, flags))
        return made

    def _then(self, one: Part, two: Part) -> Part:
        self._link(one.last, two.first)
        return Part(
            one.first + [(at, m & e) for e in one.empty for at, m in two.first if m & e],
            two.last + [(at, m & e) for e in two.empty for at, m in one.last if m & e],
            [a & b for a in one.empty for b in two.empty if a & b],
        )

    def _link(self, ends: Iterable[tuple[int, int]], starts: list[tuple[int, int]]) -> None:
        for end, m in ends:
            for start, n in starts:
                if m & n:
                    self.edges[end][start].append(m & n)

    def _position(self, chars: frozenset[int]) -> Part:
        self.sets.append(chars)
        at = len(self.sets) - 1
        return Part([(at, self.all)], [(at, self.all)], [])

    def _node(self, node: Any, flags: int) -> Part:
        kind, value = node
        if kind in _SINGLE:
            return self._position(self._set(node, flags))
        if kind is op.SUBPATTERN:
            _, added, removed, inside = value
            return self._sequence(inside, (flags | added) & ~removed)
        if kind is op.ATOMIC_GROUP:
            return self._sequence(value, flags)
        if kind is op.BRANCH:
            parts = [self._sequence(inside, flags) for inside in value[1]]
            return Part(*([one for part in parts for one in part[n]] for n in range(3)))  # type: ignore[arg-type]
        if kind in (op.MAX_REPEAT, op.MIN_REPEAT, op.POSSESSIVE_REPEAT):
            return self._repeat(kind, *value, flags)
        if kind is op.AT:
            return Part([], [], [self._where(self._at(value, flags))])
        if kind in (op.ASSERT, op.ASSERT_NOT):
            return self._look(kind is op.ASSERT, *value, flags)
        if kind is op.FAILURE:
            return Part([], [], [])
        if kind is op.GROUPREF:  # as long as what it refers to: taken for any text
            return self._repeat(op.MAX_REPEAT, 0, op.MAXREPEAT, [(op.ANY, None)], flags | re.DOTALL)
        raise NotImplementedError(f"{kind}: say here what it costs")

    def _repeat(self, kind: Any, least: int, most: Any, inside: Any, flags: int) -> Part:
        if most is not op.MAXREPEAT and most <= COUNTED:
            made = Part([], [], [self.all])
            for number in reversed(range(min(most, COPIES))):
                made = self._then(self._sequence(inside, flags), made)
                if number >= least:
                    made = Part(made.first, made.last, [self.all])
            return made
        part = self._sequence(inside, flags)
        self._link(part.last, part.first)
        empty = part.empty if least else [self.all]
        if kind is not op.POSSESSIVE_REPEAT:
            return Part(part.first, part.last, empty)
        # It ends only where it cannot go on: a round of several characters may begin well and fail all the same.
        single = {at for at, m in part.last if m == self.all} & {at for at, m in part.first if m == self.all}
        more = frozenset[int]().union(*(self.sets[at] for at in single))
        over = self._where(lambda _, behind: behind not in more)
        return Part(part.first, [(at, m & over) for at, m in part.last], [m & over for m in empty])

    def _look(self, wanted: bool, direction: int, inside: Any, flags: int) -> Part:
        one = list(inside)
        if len(one) == 1 and one[0][0] in _SINGLE:
            chars = self._set(one[0], flags)
            if direction < 0:
                return Part([], [], [self._where(lambda before, _: (before in chars) is wanted)])
            return Part([], [], [self._where(lambda _, behind: (behind in chars) is wanted)])
        if direction >= 0:  # read, and come back: a way that ends here
            part = self._sequence(inside, flags)
            return Part(part.first, [], [self.all])
        if wanted and one and one[-1][0] in _SINGLE:
            chars = self._set(one[-1], flags)
            return Part([], [], [self._where(lambda before, _: before in chars)])
        return Part([], [], [self.all])  # it is as long as it is written

    def _at(self, value: Any, flags: int) -> Callable[[int, int], bool]:
        end = self.size - 1
        feeds = {index for index, point in enumerate(self.alphabet) if point == 10}
        words = {i for i, point in enumerate(self.alphabet) if _is_word(point, self.is_text, flags)}
        lines = feeds if flags & re.MULTILINE else set[int]()
        tests: dict[Any, Callable[[int, int], bool]] = {
            op.AT_BEGINNING: lambda before, _: before == end or before in lines,
            op.AT_BEGINNING_STRING: lambda before, _: before == end,
            op.AT_END: lambda _, behind: behind == end or behind in feeds,
            op.AT_END_STRING: lambda _, behind: behind == end,
            op.AT_BOUNDARY: lambda before, behind: (before in words) is not (behind in words),
            op.AT_NON_BOUNDARY: lambda before, behind: (before in words) is (behind in words),
        }
        return tests[value]

    # -- how many ways

    def steps(self, state: int, before: int) -> dict[int, list[tuple[int, int]]]:
        """Character -> (next state, ways there), behind another character."""
        found = self.steps_known.get((state, before))
        if found is None:
            found = self.steps_known[state, before] = defaultdict(list)
            for there, conditions in self.edges[state].items():
                for char in self.sets[there]:
                    bit = 1 << before * self.size + char
                    if ways := sum(bool(condition & bit) for condition in conditions):
                        found[char].append((there, ways))
        return found


_SINGLE = (op.LITERAL, op.NOT_LITERAL, op.ANY, op.IN)


def _atoms(tree: Any, flags: int) -> Iterator[tuple[Any, int]]:
    for node in tree:
        kind, value = node
        if kind in _SINGLE:
            yield node, flags
        elif kind is op.SUBPATTERN:
            yield from _atoms(value[3], (flags | value[1]) & ~value[2])
        elif kind is op.ATOMIC_GROUP:
            yield from _atoms(value, flags)
        elif kind is op.BRANCH:
            for inside in value[1]:
                yield from _atoms(inside, flags)
        elif kind in (op.MAX_REPEAT, op.MIN_REPEAT, op.POSSESSIVE_REPEAT):
            yield from _atoms(value[2], flags)
        elif kind in (op.ASSERT, op.ASSERT_NOT):
            yield from _atoms(value[1], flags)


def _ranges(node: Any) -> Iterator[tuple[int, int]]:
    kind, value = node
    if kind in (op.LITERAL, op.NOT_LITERAL):
        yield value, value
    elif kind is op.IN:
        for what, given in value:
            if what is op.LITERAL:
                yield given, given
            elif what is op.RANGE:
                yield given


def _in_category(category: Any, point: int, is_text: bool, flags: int) -> bool:
    letter = {op.CATEGORY_DIGIT: "d", op.CATEGORY_SPACE: "s", op.CATEGORY_WORD: "w"}
    other = {op.CATEGORY_NOT_DIGIT: "D", op.CATEGORY_NOT_SPACE: "S", op.CATEGORY_NOT_WORD: "W"}
    expression = "\\" + {**letter, **other}[category]
    if is_text:
        return re.fullmatch(expression, chr(point), flags & re.ASCII) is not None
    return re.fullmatch(expression.encode(), bytes([point])) is not None


def _is_word(point: int, is_text: bool, flags: int) -> bool:
    return _in_category(op.CATEGORY_WORD, point, is_text, flags)


class Ambiguity(NamedTuple):
    """That there are ever more ways, and by repeating what."""

    degree: str
    word: str


def ambiguity(pattern: re.Pattern[Any], *, anchored: bool = False, whole: bool = False) -> Ambiguity | None:
    """Why matching this expression is not linear in the text; None: it is.

    ``anchored``: it is used with ``match`` or ``fullmatch``, which begin in one place; ``whole``: with ``fullmatch``
    only, so that what is behind matters.
    """
    machine = Automaton(
        pattern.pattern, pattern.flags & ~re.UNICODE if isinstance(pattern.pattern, bytes) else pattern.flags
    )
    everything = frozenset(range(len(machine.alphabet)))
    starts = {at for at, _ in machine.whole.first}
    if not anchored:
        machine.sets.append(everything)
        anywhere = len(machine.sets) - 1
        machine._link([(anywhere, machine.all)], [*machine.whole.first, (anywhere, machine.all)])
        starts = {anywhere}
    # Whoever comes here matches, whatever follows: nothing is tried again.
    done = _certain(machine, whole)
    if not whole and any(condition == machine.all for condition in machine.whole.empty):
        return None
    for at in done:
        machine.edges.pop(at, None)
        for there in machine.edges.values():
            there.pop(at, None)
    machine.steps_known.clear()
    reachable = _reachable(machine, starts - done)
    loops = [at for at in sorted(reachable) if at in _reachable(machine, set(machine.edges[at]))]
    for at in loops:
        if (word := _exponential(machine, at)) is not None:
            return Ambiguity("exponential", word)
    for one in loops:
        behind = _reachable(machine, {one})
        for two in loops:
            if one != two and two in behind and (word := _quadratic(machine, one, two)) is not None:
                return Ambiguity("quadratic", word)
    return None


def _certain(machine: Automaton, whole: bool) -> set[int]:
    """The states from which some way to a match is left on every text."""
    end = machine.size - 1
    over = defaultdict(int)
    for at, condition in machine.whole.last:
        over[at] |= condition
    certain = set(range(len(machine.sets)))
    while True:
        left = {
            at
            for at in certain
            if all(
                (over[at] >> char * machine.size + behind & 1 and (behind == end or not whole))
                or any(there in certain for there, _ in machine.steps(at, char).get(behind, ()))
                for char in machine.sets[at]
                for behind in range(machine.size)
            )
        }
        if left == certain:
            return certain
        certain = left


def _reachable(machine: Automaton, starts: set[int]) -> set[int]:
    found, todo = set(starts), list(starts)
    while todo:
        for there in machine.edges[todo.pop()]:
            if there not in found:
                found.add(there)
                todo.append(there)
    return found


def _exponential(machine: Automaton, at: int) -> str | None:
    """A word that leads from a state back to it in two ways."""
    ring = _ring(machine, at)
    for before in machine.sets[at]:
        goal = (at, at, before, True)
        todo: deque[Any] = deque([(at, at, before, False)])
        seen = {todo[0]: ""}
        while todo:
            state = todo.popleft()
            one, two, last, differs = state
            others = machine.steps(two, last)
            for char, ways in machine.steps(one, last).items():
                for (a, many), (b, _) in product(ways, others.get(char, ())):
                    new = (a, b, char, differs or a != b or (one == two and many > 1))
                    if a in ring and b in ring and new not in seen:
                        seen[new] = seen[state] + chr(machine.alphabet[char])
                        todo.append(new)
            if goal in seen:
                return seen[goal]
    return None


def _quadratic(machine: Automaton, first: int, second: int) -> str | None:
    """A word that leads from the first state to itself, to the second, and from the second to itself."""
    ring, other_ring = _ring(machine, first), _ring(machine, second)
    for before in machine.sets[first] & machine.sets[second]:
        goal = (first, second, second, before)
        todo: deque[Any] = deque([(first, first, second, before)])
        seen = {todo[0]: ""}
        while todo:
            state = todo.popleft()
            one, two, three, last = state
            middle, behind = machine.steps(two, last), machine.steps(three, last)
            for char, ways in machine.steps(one, last).items():
                for (a, _), (b, _), (c, _) in product(ways, middle.get(char, ()), behind.get(char, ())):
                    new = (a, b, c, char)
                    if a in ring and c in other_ring and new not in seen:
                        seen[new] = seen[state] + chr(machine.alphabet[char])
                        todo.append(new)
            if goal in seen:
                return seen[goal]
    return None


def _ring(machine: Automaton, at: int) -> set[int]:
    """The states from which one comes back to this one."""
    return {there for there in _reachable(machine, {at}) if at in _reachable(machine, {there})}
