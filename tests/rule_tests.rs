//! `test`: the example's tests, what a failure looks like, and mistakes in test files.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail so")]
#![allow(clippy::similar_names, reason = "`out` and `err` are called so")]

use std::fs;
use std::path::Path;
use std::process::Command;

use taskwarden::cli::findings;
use taskwarden::rules::cases::{self, prove};
use taskwarden::rules::{Config, Source, load};

const RULES: &str = r#"version: 1
servers: [{ name: home, url: "http://127.0.0.1:5244", token: { env: OPENLIST_TOKEN } }]
rules:
  - name: slow
    match: { kind: copy, state: failed, error: busy }
    action: retry_some
    backoff: { initial: 10m, factor: 2, jitter: 0 }
    max_attempts: 2
    on_give_up: [notify, delete_some]
    breaker: off
  - name: fast
    match: { state: failed, any: [{ error: reset }, { error: refused }] }
    action: retry_some
    backoff: { initial: 1m, jitter: 0 }
    max_attempts: 3
    breaker: off
"#;

/// Runs `taskwarden test` in a folder with these files; standard output, error output, exit code.
fn shown(files: &[(&str, &str)], args: &[&str]) -> (String, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(folder.path().join(name), text).unwrap();
    }
    let output = Command::new(env!("CARGO_BIN_EXE_taskwarden"))
        .arg("test")
        .args(args)
        .current_dir(folder.path())
        .env("TZ", "UTC")
        .output()
        .unwrap();
    let text = format!(
        "{}-- stderr\n{}-- exit {}\n",
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
        output.status.code().unwrap()
    );
    (text, folder)
}

fn config() -> Config {
    load(Source::new("rules.yaml", RULES)).config.unwrap()
}

/// What the expectations of one test without a name come to: the failures, a line each.
#[track_caller]
fn check(test: &str, expected: &[&str]) {
    let text = format!("tests:\n  - name: x\n{test}");
    let loaded = cases::load(Source::new("x.test.yaml", &text), &config());
    let Some(cases) = loaded.cases else { panic!("{}", findings::human(&loaded.loaded, false)) };
    let outcome = prove(&cases[0], &config().rules, 0, None);
    let failures: Vec<String> = outcome
        .failures
        .iter()
        .map(|failure| format!("{} | {}", failure.expected, failure.got.join("; ")))
        .collect();
    let happened: Vec<String> =
        outcome.happened.iter().map(|one| format!("{:?} {one}", one.at)).collect();
    assert_eq!(failures, expected, "{}", happened.join("\n"));
}

#[test]
fn the_tests_of_the_example_pass_and_cover_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = Command::new(env!("CARGO_BIN_EXE_taskwarden"))
        .args(["test", "rules.example.test.yaml", "--coverage"])
        .current_dir(root)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    let last = text.lines().last().unwrap();
    assert!(last.starts_with("coverage of rules.example.yaml: 7 of 7 rules"), "{text}");
    assert!(!text.contains("never"), "{text}");
}

const FAILING: &str = r"
tests:
  - name: it is quick
    tasks: [{ id: a, kind: copy, state: failed, error: the drive is busy }]
    expect:
      - { task: a, action: retry_some, rule: fast, before: 15m }
      - { task: a, waits: breaker, at: 1m }
      - { task: a, taken_by: none, at: 1m }
  - name: nothing else happens
    nothing_else: true
    tasks: [{ id: b, kind: upload, state: failed, error: connection reset }]
    expect:
      - { task: b, action: none, before: 30s }
    until: 5m
  - name: this one is fine
    tasks: [{ kind: upload, state: failed, error: connection refused }]
    expect: [{ action: retry_some, at: 1m, attempt: 1 }]
";

#[test]
fn a_failing_test_shows_what_happened_and_why() {
    let files = [("rules.yaml", RULES), ("rules.test.yaml", FAILING)];
    let (text, folder) = shown(&files, &["rules.test.yaml", "--junit", "report.xml", "--coverage"]);
    insta::assert_snapshot!("failing", text);
    let report = fs::read_to_string(folder.path().join("report.xml")).unwrap();
    insta::assert_snapshot!("junit", report);
    let (text, _) = shown(&files, &["rules.test.yaml", "--format", "json", "--run", "^it is"]);
    insta::assert_snapshot!("failing_json", text);
    let (text, _) = shown(&files, &["rules.test.yaml", "--run", "fine", "--quiet"]);
    assert_eq!(text, "-- stderr\n-- exit 0\n");
    let (text, _) = shown(&files, &["rules.test.yaml", "--run", "no such"]);
    assert!(text.ends_with("-- exit 2\n"), "{text}");
}

#[test]
fn every_mistake_in_a_test_file_is_told_at_its_place() {
    let test = r"
test: []
tests:
  - name: x
    server: hom
    away: [{ from: 5m, to: 1m }, { from: 1m }]
    tasks:
      - { kind: cpy, state: faild }
      - { id: a, kind: copy, error: oops }
      - { id: a, kind: copy }
      - kind: copy
        timeline:
          - { state: failed }
          - { at: 5, state: failed }
          - { at: 5m, state: failed, times: 2 }
          - { at: 1m, after_retry: 2m }
          - { at: 1m }
        after_retry: 5m
    expect:
      - { task: b, action: retry }
      - { rule: sloww, action: retry }
      - { action: retri_some }
      - { action: retry, waits: backoff }
      - { waits: patience }
      - { gives_up: maybe }
      - { gives_up: true, times: 3 }
      - { at: 1m, after: 2m, action: none }
      - { before: 2m, taken_by: slow }
      - { after: 2m, before: 1m, action: none }
      - { action: none, times: 7 }
      - {}
  - tasks: []
    start: yesterday
";
    let (text, _) =
        shown(&[("rules.yaml", RULES), ("rules.test.yaml", test)], &["rules.test.yaml"]);
    insta::assert_snapshot!("mistakes", text);
    let (text, _) = shown(&[("rules.yaml", RULES), ("rules.test.yaml", "")], &["rules.test.yaml"]);
    assert!(text.contains("the file holds no tests"), "{text}");
    let broken = [("rules.yaml", "version: 2"), ("rules.test.yaml", FAILING)];
    let (text, _) = shown(&broken, &["rules.test.yaml"]);
    assert!(text.contains("unsupported-version") && text.ends_with("-- exit 1\n"), "{text}");
    let (text, _) = shown(&[("rules.test.yaml", FAILING)], &["rules.test.yaml"]);
    assert!(text.ends_with("-- exit 2\n"), "{text}");
}

#[test]
fn waits_grow_from_each_failure_and_a_rule_gives_up_in_the_end() {
    check(
        "    tasks:
      - { id: a, kind: copy, state: failed, error: busy, timeline: [
          { after_retry: 1m, times: none, state: failed, error: busy }] }
    until: 2h
    nothing_else: true
    expect:
      - { action: retry_some, attempt: 1, at: 10m }
      - { action: retry_some, attempt: 2, at: 31m }
      - { gives_up: true, rule: slow, at: 32m }
      - { action: delete_some, at: 32m }
      - { gives_up: true, rule: fast }
",
        &[
            "any task is given up by `fast`, at any time | retry_some of a by `slow`, attempt 1, at \
           10m; retry_some of a by `slow`, attempt 2, at 31m; `slow` gives a up: all 2 attempts \
           are used up, at 32m; notify of a by `slow` (on_give_up), at 32m; delete_some of a by \
           `slow` (on_give_up), at 32m",
        ],
    );
}

#[test]
fn failing_again_by_itself_starts_the_wait_anew() {
    check(
        "    tasks:
      - { id: a, kind: copy, timeline: [
          { at: 0s, state: failed, error: busy }, { at: 5m, state: failed, error: busy }] }
    expect:
      - { action: none, before: 14m59s }
      - { action: retry_some, at: 15m }
",
        &[],
    );
}

#[test]
fn nothing_is_done_while_the_server_is_away() {
    check(
        "    tasks: [{ id: a, kind: copy, state: failed, error: busy }]
    away: [{ from: 5m, to: 1h5m }]
    expect:
      - { action: retry_some, at: 1h5m, times: 1 }
      - { action: none, before: 1h4m }
      - { waits: backoff, at: 10m }
",
        &["any task waits for backoff, at 10m | the server is away then, so nothing is seen"],
    );
}

#[test]
fn a_task_can_leave_by_itself_and_come_to_every_state() {
    check(
        "    tasks:
      - { id: a, kind: copy, timeline: [
          { at: 0s, state: pending }, { at: 1m, state: running, progress: 3 },
          { at: 2m, state: failed, error: reset }, { at: 2m30s, state: gone }] }
    expect:
      - { action: none }
      - { taken_by: none, at: 1m }
      - { taken_by: fast, at: 2m15s }
      - { taken_by: none, at: 3m }
    until: 10m
",
        &["no rule has any task, at 3m | the task is not listed then"],
    );
}

#[test]
fn a_give_up_that_never_came_is_explained_by_how_it_stood_in_the_end() {
    let text = "tests:
  - name: x
    tasks: [{ id: a, kind: copy, state: failed, error: busy, timeline: [
      { after_retry: 1m, times: none, state: failed, error: busy }] }]
    until: 25m
    expect: [{ gives_up: true, rule: slow }]
";
    let cases = cases::load(Source::new("x.test.yaml", text), &config()).cases.unwrap();
    let outcome = prove(&cases[0], &config().rules, 0, None);
    let seen = outcome.failures[0].seen.as_ref().unwrap();
    assert!(seen.at.as_secs() > 11 * 60, "{:?}", seen.at);
    assert_eq!(seen.trace.rules[0].attempts, 1);
}

/// The `yaml` blocks of a page of the documentation.
fn blocks(page: &str) -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(root.join("docs").join(page)).unwrap();
    let blocks = text.split("```yaml\n").skip(1);
    blocks.map(|block| block.split("```").next().unwrap().to_owned()).collect()
}

#[test]
fn the_examples_of_the_documentation_run() {
    let mut rules = None;
    let mut tests = 0;
    for block in blocks("testing-rules.md") {
        if block.starts_with("version:") {
            let loaded = load(Source::new("rules.yaml", &block));
            assert!(loaded.findings.is_empty(), "{}", findings::human(&loaded, false));
            rules = loaded.config;
            continue;
        }
        let rules = rules.as_ref().expect("rules stand before their tests");
        let loaded = cases::load(Source::new("rules.test.yaml", &block), rules);
        let Some(cases) = loaded.cases else {
            panic!("{block}\n{}", findings::human(&loaded.loaded, false))
        };
        for case in cases {
            tests += 1;
            let outcome = prove(&case, &rules.rules, 0, None);
            assert!(outcome.failures.is_empty(), "{}: {:#?}", case.name, outcome.failures);
        }
    }
    assert!(tests >= 4);
}
