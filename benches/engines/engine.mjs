// json-rules-engine over the tasks of a file: which rule has each task, and how long a round takes.
import { readFileSync } from "node:fs";
import { Engine } from "json-rules-engine";

const [file, rounds, most] = [process.argv[2], Number(process.argv[3]), Number(process.argv[4])];
const given = JSON.parse(readFileSync(file, "utf8"));
const [rules, tasks] = [given.rules, given.tasks.slice(0, most)];

const patterns = new Map(rules.map((rule) => [rule.error, new RegExp(rule.error)]));
const engine = new Engine();
engine.addOperator("matches", (text, pattern) => patterns.get(pattern).test(text));
rules.forEach((rule, at) =>
  engine.addRule({
    // A higher priority goes first, so that the patterns come last.
    conditions: {
      all: [
        { fact: "kind", operator: "in", value: rule.kind, priority: 3 },
        { fact: "state", operator: "equal", value: rule.state, priority: 2 },
        { fact: "error", operator: "matches", value: rule.error, priority: 1 },
      ],
    },
    event: { type: rule.name },
    priority: rules.length - at,
  }),
);
// The first match wins.
engine.on("success", () => engine.stop());

let chosen;
const micros = [];
// The first round warms up.
for (let round = 0; round <= rounds; round++) {
  chosen = [];
  const began = process.hrtime.bigint();
  for (const task of tasks) {
    const { events } = await engine.run(task);
    chosen.push(events.length > 0 ? events[0].type : null);
  }
  const passed = Number(process.hrtime.bigint() - began) / 1000;
  if (round > 0) micros.push(passed / tasks.length);
}
console.log(JSON.stringify({ micros, chosen }));
