#!/usr/bin/env python3
"""The imports between the modules of src/: fails where one looks upward or where they go in circles.

    scripts/imports.py            # the floors with what each imports, then violations
    scripts/imports.py --dot      # the same as a graph for Graphviz

A room is a module directly below src/; FLOORS lists them, the highest first, and a room imports those further down only.
Names are followed through `pub use` to the file that
defines them, so that a re-export in a `mod.rs` is no import. Tests are left out, and so is what a macro names by
`$crate`, which stands where the macro is used.
"""

import collections
import pathlib
import re
import sys

SRC = pathlib.Path(__file__).resolve().parent.parent / "src"

# A room imports those further down only.
FLOORS = [
    "main",
    "cli",
    "prelude",
    "serve",
    "report",
    "recipe",
    "training",
    "callbacks",
    "catalog",
    "model",
    "compile",
    "layers",
    "optimizers",
    "schedules",
    "metrics",
    "losses",
    "constraints",
    "regularizers",
    "ops",
    "backend",
    "initializers",
    "datasets",
    "formats",
    "register",
    "shape",
    "config",
    "random",
    "memory",
    "distributed",
    "error",
    "text",
]

# The one list of classes of layers is a room of its own above models, which are layers too.
CATALOG = ("layers", "list")
# A layer or model that holds others reads and writes them by the names of their classes, whatever they are: the one
# way up, through these functions of the catalog.
BY_NAME = {"entry", "from_keras", "to_keras", "register", "built_in", "Entry"}

NAME = r"[A-Za-z_][A-Za-z0-9_]*"


def without_comments_and_strings(text):
    """The code alone: comments go, strings become empty ones."""
    pattern = r'//[^\n]*|/\*.*?\*/|b?r(#*)".*?"\1|b?"(?:\\.|[^"\\])*"|\'(?:\\.|[^\'\\])\''
    return re.sub(pattern, lambda m: '""' if '"' in m.group(0)[:3] else " ", text, flags=re.S)


def without_tests(code):
    """Without items under `#[cfg(test)]`."""
    while (start := re.search(r"#\[cfg\((?:all\()?test\b[^\]]*\)\]", code)) is not None:
        at, depth = start.end(), 0
        while at < len(code):
            if code[at] in "{(":
                depth += 1
            elif code[at] in "})":
                depth -= 1
                if depth == 0 and code[at] == "}":
                    break
            elif code[at] == ";" and depth == 0:
                break
            at += 1
        code = code[: start.start()] + code[at + 1 :]
    return code


def split_list(text):
    """The parts of a comma-separated list that are not inside braces."""
    parts, depth, part = [], 0, ""
    for c in text + ",":
        depth += (c == "{") - (c == "}")
        if c == "," and depth == 0:
            if part.strip():
                parts.append(part.strip())
            part = ""
        else:
            part += c
    return parts


def expand(tree):
    """The paths of a `use` tree, with the name that each has here."""
    tree = tree.strip()
    if (brace := tree.find("{")) >= 0:
        head = tree[:brace].strip().removesuffix("::")
        for part in split_list(tree[brace + 1 : tree.rindex("}")]):
            for path, name in expand(part):
                joined = "::".join(p for p in (head, path) if p and p != "self")
                yield joined, name if path != "self" or name != "self" else head.split("::")[-1]
        return
    path, _, alias = tree.partition(" as ")
    path = re.sub(r"\s+", "", path)
    yield path, alias.strip() or path.split("::")[-1]


class Module:
    """A file: its child modules, what it uses and what it defines."""

    def __init__(self, path, parts):
        self.file, self.parts = path, parts
        code = without_tests(without_comments_and_strings(path.read_text()))
        self.code = code
        self.children = set(re.findall(rf"(?:^|\s)mod\s+({NAME})\s*;", code))
        self.uses = []  # (path, name, is public)
        for public, tree in re.findall(r"(?:^|[;{}\]\s])(pub(?:\([^)]*\))?\s+)?use\s+([^;]*);", code):
            self.uses += [(p, n, bool(public)) for p, n in expand(tree)]
        self.body = re.sub(r"\buse\s+[^;]*;", " ", code)

    def defines(self, name):
        kinds = r"fn|struct|enum|trait|type|const|static|mod|union|macro_rules!"
        # An item whose name a macro declares counts as the file's that names it after such a keyword.
        return re.search(rf"\b(?:{kinds})\s+{name}\b", self.code) is not None


def load(root="lib.rs"):
    """The modules of a crate, by their paths."""
    modules = {}

    def add(path, parts):
        module = modules[tuple(parts)] = Module(path, parts)
        folder = path.parent if path.name in ("mod.rs", "lib.rs", "main.rs") else path.with_suffix("")
        for child in module.children:
            for candidate in (folder / f"{child}.rs", folder / child / "mod.rs"):
                if candidate.exists():
                    add(candidate, parts + [child])

    add(SRC / root, [])
    return modules


def resolve(modules, here, path, seen=()):
    """The module that defines what `path` names, seen from `here`; None for what is not of this crate."""
    parts = path.split("::")
    at = list(here)
    if parts[0] in ("crate", "$crate"):
        at, parts = [], parts[1:]
    elif parts[0] == "self":
        parts = parts[1:]
    elif parts[0] == "super":
        while parts and parts[0] == "super":
            at, parts = at[:-1], parts[1:]
    elif parts[0] not in modules[tuple(here)].children:
        return None
    while parts:
        module = modules[tuple(at)]
        if tuple(at + parts[:1]) in modules:
            at, parts = at + parts[:1], parts[1:]
            continue
        if (tuple(at), parts[0]) in seen:
            return None
        seen = (*seen, (tuple(at), parts[0]))
        if module.defines(parts[0]):
            return tuple(at)
        for inner, name, _ in module.uses:
            if name == parts[0]:
                return resolve(modules, at, inner, seen)
        for inner, name, _ in module.uses:
            if name == "*" and (found := resolve(modules, at, f"{inner.removesuffix('::*')}::{parts[0]}", seen)):
                return found
        return tuple(at)
    return tuple(at)


def arrows(modules):
    """For each module those that it imports, with the names."""
    found = collections.defaultdict(lambda: collections.defaultdict(set))
    for key, module in modules.items():
        paths = [p for p, _, public in module.uses if not public]
        paths += [re.sub(r"\s+", "", p) for p in re.findall(rf"(?<!\$)\b(?:crate|super|self)(?:\s*::\s*{NAME})+", module.body)]
        # What a parent re-exports from its children is no import of its own.
        paths += [p for p, _, public in module.uses if public and p.startswith(("crate::", "super::"))]
        for path in paths:
            for candidate in (path, path.rsplit("::", 1)[0]):
                target = resolve(modules, key, candidate)
                if target is not None:
                    break
            if target == CATALOG and path.split("::")[-1] in BY_NAME:
                continue
            if target is not None and target != key and target != ():
                found[key][target].add(path)
    return found


def room(key):
    """The room of a module."""
    if key == CATALOG:
        return "catalog"
    return key[0] if key else "lib"


def circles(graph):
    """Strongly connected components of more than one node (Tarjan)."""
    index, low, stack, on, out = {}, {}, [], set(), []
    sys.setrecursionlimit(10000)

    def visit(v):
        index[v] = low[v] = len(index)
        stack.append(v)
        on.add(v)
        for w in graph.get(v, ()):
            if w not in index:
                visit(w)
                low[v] = min(low[v], low[w])
            elif w in on:
                low[v] = min(low[v], index[w])
        if low[v] == index[v]:
            part = []
            while True:
                w = stack.pop()
                on.discard(w)
                part.append(w)
                if w == v:
                    break
            if len(part) > 1:
                out.append(sorted(part))

    for v in list(graph):
        if v not in index:
            visit(v)
    return out


def main():
    """Prints the floors and the violations."""
    modules = load()
    found = arrows(modules)
    rooms = collections.defaultdict(lambda: collections.defaultdict(set))
    for key, targets in found.items():
        for target in targets:
            if room(key) != room(target) and room(key) != "lib":
                rooms[room(key)][room(target)].add("/".join(key))
    if "--dot" in sys.argv:
        print("digraph imports {\n  rankdir = TB; node [shape = box];")
        for a in FLOORS:
            for b in rooms.get(a, ()):
                print(f'  "{a}" -> "{b}" [penwidth = {min(1 + len(rooms[a][b]) / 10, 5):.1f}];')
        print("}")
        return 0
    bad = 0
    for a in FLOORS:
        if a in rooms:
            print(f"{a}: " + ", ".join(sorted(rooms[a], key=FLOORS.index)))
    for a, targets in sorted(rooms.items()):
        for b, files in targets.items():
            if FLOORS.index(b) < FLOORS.index(a):
                bad += 1
                print(f"upward: {a} imports {b}, in {', '.join(sorted(files))}")
    # The program names the library as any other does; its own files form no circles either.
    for key, targets in arrows(load("main.rs")).items():
        if key and key[0] == "cli":
            found[("main", *key)] = {("main", *target): names for target, names in targets.items()}
    plain = {k: [t for t in v if t[: len(k)] != k and k[: len(t)] != t] for k, v in found.items()}
    for part in circles(plain):
        inside = [(k, t) for k in part for t in plain.get(k, ()) if t in part]
        bad += 1
        print("circle:")
        for k, t in inside:
            print(f"    {'/'.join(k)} imports {', '.join(sorted(found[k][t]))} of {'/'.join(t)}")
    print(f"{len(modules)} modules, {bad} violations")
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
