#!/usr/bin/env python3
"""The table of upstream's end-to-end tests; called by conformance.sh.

    focus TABLE CLASS [REGEX]   prints the focus that runs the tests of a class
    note TABLE JUNIT            writes what a report says into the table
    counts TABLE                prints the counts as docs/conformance.md has them

A line of the table: name, class, result, cause; between them tabs.
"""
import collections
import re
import sys
import xml.etree.ElementTree

RESULTS = ("passed", "failed", "out of scope", "not run")


def rows(table):
    with open(table, encoding="utf-8") as file:
        lines = [line.rstrip("\n") for line in file]
    head = [line for line in lines if line.startswith("#")]
    found = [line.split("\t") for line in lines if line and not line.startswith("#")]
    return head, [row + [""] * (4 - len(row)) for row in found]


def write(table, head, found):
    found.sort(key=lambda row: (row[1], row[0]))
    with open(table, "w", encoding="utf-8") as file:
        for line in head + ["\t".join(row).rstrip() for row in found]:
            file.write(line + "\n")


def focus(table, wanted, pattern):
    # Ginkgo matches a name without the name of the group that owns it in front.
    names = [row[0] for row in rows(table)[1] if row[1] == wanted and re.search(pattern, row[0])]
    if not names:
        sys.exit(f"error: the table has no such test of class {wanted}")
    names = [re.sub(r"^\[sig-[a-z-]+\] ", "", name) for name in names]
    print("|".join(re.sub(r"([][().*+?^${}|\\])", r"\\\1", name) + "($| \\[)" for name in names))


def told(case):
    """The result of one test of a report, and its cause; nothing if it did not run."""
    if case.find("skipped") is not None:
        return None
    bad = next((case.find(kind) for kind in ("failure", "error") if case.find(kind) is not None), None)
    if bad is None:
        return "passed", ""
    said = (bad.get("message") or bad.text or "").strip().split("\n")[0]
    return "failed", re.sub(r"\s+", " ", said)[:300]


def note(table, report):
    head, found = rows(table)
    by_name = {row[0]: row for row in found}
    for case in xml.etree.ElementTree.parse(report).getroot().iter("testcase"):
        if not case.get("name").startswith("[It] "):
            continue
        # Labels stand behind the name, the first of them is the group that owns the test.
        name = re.sub(r" \[sig-[a-z-]+(, [^\]]*)?\]$", "", case.get("name")[len("[It] "):])
        result = told(case)
        if result is None:
            continue
        row = by_name.setdefault(name, [name, "extra", "", ""])
        # What a person found out about a failure is better than its first line.
        if result[0] == "passed" or row[2] not in ("failed", "out of scope"):
            row[2], row[3] = result
    write(table, head, list(by_name.values()))
    counts(table)


def counts(table):
    found = rows(table)[1]
    of_class = collections.Counter((row[1], row[2]) for row in found)
    classes = sorted({row[1] for row in found})
    print("| Class | " + " | ".join(result.capitalize() for result in RESULTS) + " |")
    print("|---|" + "---:|" * len(RESULTS))
    for one in classes:
        print(f"| `{one}` | " + " | ".join(str(of_class[one, result]) for result in RESULTS) + " |")


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["focus", table, wanted, *pattern]:
            focus(table, wanted, pattern[0] if pattern else "")
        case ["note", table, report]:
            note(table, report)
        case ["counts", table]:
            counts(table)
        case _:
            sys.exit(__doc__)
