"""Makes functions.txt of all functions of a program and of those that were called.

A line is a name, or what a name begins with and `*`, cut to what tells it from functions that were not called, so
that the list is short and small changes of the program do not outdate it. Hashes that depend on the versions of
libraries and compilers, and numbers that depend on the lengths of those, are `*` too.
"""

import re
import sys
from collections import Counter

# So many bytes of functions that were not called may come along with a line.
STRANGERS = 200
# A shorter beginning could be that of a function to come.
SHORTEST = 40


def stable(name):
    return re.sub(r"B[0-9A-Za-z]*_", "B*_", re.sub(r"Cs[0-9A-Za-z]+_", "Cs*_", name))


def common(one, other):
    length = 0
    while length < min(len(one), len(other)) and one[length] == other[length]:
        length += 1
    return length


sizes = Counter()
with open(sys.argv[1]) as symbols:
    for line in symbols:
        words = line.split()
        if len(words) == 4 and words[2] in "tT":
            sizes[stable(words[3])] += int(words[1], 16)
with open(sys.argv[2]) as called_names:
    called = {stable(line.strip()) for line in called_names}
names = sorted(sizes)


def choose(start, end, shared):
    """Lines for `names[start:end]`, which have their first `shared` letters in common."""
    strangers = sum(sizes[name] for name in names[start:end] if name not in called)
    if all(name not in called for name in names[start:end]):
        return
    first = names[start]
    if end - start == 1:
        around = [names[at] for at in (start - 1, end) if 0 <= at < len(names)]
        length = max([SHORTEST] + [common(first, other) + 1 for other in around])
        yield first if length >= len(first) else first[:length] + "*"
        return
    shared += common(first[shared:], names[end - 1][shared:])
    if strangers <= STRANGERS and shared >= SHORTEST:
        yield first[:shared] + "*"
        return
    at = start
    while at < end:
        letter = names[at][shared : shared + 1]
        next_at = at
        while next_at < end and names[next_at][shared : shared + 1] == letter:
            next_at += 1
        if letter:
            yield from choose(at, next_at, shared + 1)
        elif first in called:
            yield first
        at = next_at


for line in choose(0, len(names), 0):
    print(line)
