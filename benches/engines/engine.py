"""A rule engine over the tasks of a file: which rule has each task, and how long a round takes."""

import json
import sys
import time


def plain_re(rules):
    """A loop over compiled patterns, as one would write it by hand."""
    import re

    compiled = [
        (rule["name"], frozenset(rule["kind"]), rule["state"], re.compile(rule["error"]).search)
        for rule in rules
    ]

    def choose(task):
        kind, state, error = task["kind"], task["state"], task["error"]
        for name, kinds, wanted, found in compiled:
            if wanted == state and kind in kinds and found(error):
                return name
        return None

    return choose


def rule_engine(rules):
    import rule_engine

    def text(rule):
        kinds = ", ".join(json.dumps(kind) for kind in rule["kind"])
        state, error = json.dumps(rule["state"]), json.dumps(rule["error"])
        return f"state == {state} and kind in [{kinds}] and error =~~ {error}"

    compiled = [(rule["name"], rule_engine.Rule(text(rule)).matches) for rule in rules]

    def choose(task):
        for name, matches in compiled:
            if matches(task):
                return name
        return None

    return choose


def zen_engine(rules):
    import zen

    def column(key):
        return {"id": key, "name": key, "field": key}

    table = {
        "hitPolicy": "first",
        "inputs": [column(key) for key in ("kind", "state", "error")],
        "outputs": [column("rule")],
        "rules": [
            {
                "_id": str(at),
                "kind": ", ".join(json.dumps(kind) for kind in rule["kind"]),
                "state": json.dumps(rule["state"]),
                "error": f"matches($, {json.dumps(rule['error'])})",
                "rule": json.dumps(rule["name"]),
            }
            for at, rule in enumerate(rules)
        ],
    }
    place = {"x": 0, "y": 0}
    graph = {
        "nodes": [
            {"id": "in", "name": "in", "type": "inputNode", "position": place},
            {
                "id": "table",
                "name": "table",
                "type": "decisionTableNode",
                "position": place,
                "content": table,
            },
            {"id": "out", "name": "out", "type": "outputNode", "position": place},
        ],
        "edges": [
            {"id": "1", "type": "edge", "sourceId": "in", "targetId": "table"},
            {"id": "2", "type": "edge", "sourceId": "table", "targetId": "out"},
        ],
    }
    decision = zen.ZenEngine().create_decision(json.dumps(graph))

    def choose(task):
        result = decision.evaluate(task)["result"]
        return result.get("rule") if result else None

    return choose


def main():
    name, file, rounds, most = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    with open(file, encoding="utf-8") as text:
        given = json.load(text)
    tasks = given["tasks"][:most]
    choose = {"re": plain_re, "rule-engine": rule_engine, "zen-engine": zen_engine}[name](
        given["rules"]
    )
    micros = []
    # The first round warms up.
    for at in range(rounds + 1):
        began = time.perf_counter()
        chosen = [choose(task) for task in tasks]
        passed = (time.perf_counter() - began) * 1e6
        if at > 0:
            micros.append(passed / len(tasks))
    print(json.dumps({"micros": micros, "chosen": chosen}))


main()
