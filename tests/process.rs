//! The daemon as people run it: a process of its own, real sockets, real time, signals.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::format_push_string,
    reason = "tests may unwrap"
)]

mod common;

use std::os::unix::fs::symlink;
use std::time::Duration;

use common::past::looks;
use common::process::{Home, Process, acted, real_time, report, servers};
use jiff::{SignedDuration, Timestamp};
use taskwarden::ambient::{Clock, monotonic};
use taskwarden::engine::audit::{AuditRow, Outcome};
use taskwarden::engine::rule::Mode;
use taskwarden::sandbox::{
    AttemptScript, Endpoint, Fault, FaultPlan, Flavour, Phase, Sandbox, Settings, State, TaskScript,
};

const MOMENT: Duration = Duration::from_millis(100);
const REFUSED: &str = "dial tcp 192.0.2.7:443: connect: connection refused";

const RETRY: &str = "
rules:
  - name: retry
    match: { kind: offline_download, state: failed, error: connection refused }
    action: retry_some
    backoff: { initial: 1s, factor: 1, jitter: 0 }
";

fn settings(flavour: Flavour) -> Settings {
    Settings::new(flavour).pool("offline_download", 20, 0)
}

async fn openlist() -> Sandbox {
    real_time(settings(Flavour::OpenList)).await
}

fn download(file: &str) -> TaskScript {
    TaskScript::new("offline_download", format!("download http://h.example/{file} to (/d)"))
}

/// A download that fails `times` times before it comes through.
fn flaky(file: &str, times: usize) -> TaskScript {
    download(file).fails(times, MOMENT, REFUSED).succeeds(MOMENT)
}

fn add(sandbox: &Sandbox, script: TaskScript) -> String {
    sandbox.with_model(|model| model.add(script))
}

fn state(sandbox: &Sandbox, id: &str) -> Option<State> {
    sandbox.with_model(|model| model.state(id))
}

fn polls(sandbox: &Sandbox) -> Vec<Timestamp> {
    let report = report(sandbox);
    let polls = report.calls.iter().filter(|call| {
        call.endpoint == Endpoint::Undone && call.kind == "offline_download" && call.applied
    });
    polls.map(|call| call.at).collect()
}

fn calls(sandbox: &Sandbox, endpoint: Endpoint) -> usize {
    report(sandbox).calls.iter().filter(|call| call.endpoint == endpoint).count()
}

fn assert_no_harm(sandbox: &Sandbox) {
    assert_eq!(report(sandbox).violations(), Vec::<String>::new());
}

/// That all of the log was copied into the database, which SQLite does when the last one closes it.
fn assert_store_closed(home: &Home) {
    let left = ["taskwarden.db", "taskwarden.db-wal"].map(|name| home.state().join(name).exists());
    assert_eq!(left, [true, false]);
}

fn rows_of(rows: &[AuditRow], id: &str) -> Vec<AuditRow> {
    let of = |row: &&AuditRow| row.task_id.as_ref().is_some_and(|task| task.as_str() == id);
    rows.iter().filter(of).cloned().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn it_retries_cancels_and_clears_and_writes_down_why() {
    tokio::join!(
        retries_cancels_and_clears(Flavour::OpenList),
        retries_cancels_and_clears(Flavour::AList)
    );
}

async fn retries_cancels_and_clears(flavour: Flavour) {
    let sandbox = real_time(settings(flavour)).await;
    let flaky = add(&sandbox, flaky("flaky", 2));
    let hopeless = add(&sandbox, download("gone").fails(1, MOMENT, "http status code 404"));
    let stalled = add(&sandbox, download("stalled").then(AttemptScript::stall(MOMENT)));
    let copy = TaskScript::new("copy", "copy [/a](/x) to [/b](/)");
    let copied = sandbox.with_model(|model| model.add_finished(copy, State::Succeeded, ""));
    let home = Home::on(
        &sandbox,
        &format!(
            "{RETRY}
  - {{ name: stalled, match: {{ state: running, stalled_for: 1s }}, action: cancel_some }}
  - {{ name: tidy, match: {{ kind: copy, state: succeeded }}, action: clear_succeeded }}
"
        ),
    );
    let daemon = home.daemon(&["run"]);
    daemon
        .until("all is done", || {
            let rows = home.audit();
            state(&sandbox, &flaky) == Some(State::Succeeded)
                && rows.len() == 4
                && rows.iter().all(|row| row.outcome == Outcome::Effective)
        })
        .await;
    let said = daemon.terminate().await;
    assert_store_closed(&home);
    assert!(said.contains("looking after 1 server with 3 rules"), "{said}");
    assert!(said.trim_end().ends_with("stopping"), "{said}");
    assert_no_harm(&sandbox);
    assert!(!report(&sandbox).task(&copied).unwrap().listed);
    assert_eq!(state(&sandbox, &hopeless), Some(State::Failed));
    let canceled = if flavour == Flavour::AList { State::Failed } else { State::Canceled };
    assert_eq!(state(&sandbox, &stalled), Some(canceled));
    let rows = home.audit();
    let attempts = rows_of(&rows, &flaky);
    assert_eq!(attempts.iter().map(|row| row.attempt).collect::<Vec<_>>(), [Some(1), Some(2)]);
    for row in &attempts {
        assert_eq!(row.rule.as_ref().unwrap().as_str(), "retry");
        assert_eq!(row.error.as_deref(), Some(REFUSED));
    }
    assert_eq!(rows_of(&rows, &stalled)[0].action, "cancel_some");
    assert!(rows.iter().any(|row| row.action == "clear_succeeded" && row.task_id.is_none()));
}

/// A file of rules in which none takes a failed task.
const IDLE: &str =
    "rules:\n  - { name: idle, match: { kind: copy, state: failed }, action: notify }\n";

/// The daemon on `IDLE`, and a task that `RETRY` would take.
async fn idle() -> (Sandbox, Home, String) {
    let sandbox = openlist().await;
    let task = add(&sandbox, flaky("f", 1));
    let home = Home::on(&sandbox, IDLE);
    (sandbox, home, task)
}

fn full(sandbox: &Sandbox, rules: &str) -> String {
    format!("{}{rules}", servers(&[("home", sandbox)]))
}

#[tokio::test(flavor = "multi_thread")]
async fn new_rules_take_effect_however_the_file_is_saved() {
    fn in_place(home: &Home, text: &str) {
        std::fs::write(home.rules(), text).unwrap();
    }
    fn renamed_over(home: &Home, text: &str) {
        std::fs::write(home.file(".rules.yaml.swp"), text).unwrap();
        std::fs::rename(home.file(".rules.yaml.swp"), home.rules()).unwrap();
    }
    fn with_a_backup(home: &Home, text: &str) {
        std::fs::rename(home.rules(), home.file("rules.yaml~")).unwrap();
        in_place(home, text);
    }
    fn link_swapped(home: &Home, text: &str) {
        std::fs::create_dir(home.file("..new")).unwrap();
        std::fs::write(home.file("..new/rules.yaml"), text).unwrap();
        symlink("..new", home.file("..tmp")).unwrap();
        std::fs::rename(home.file("..tmp"), home.file("..data")).unwrap();
    }
    async fn takes_effect(save: fn(&Home, &str)) {
        let (sandbox, home, task) = idle().await;
        if save as usize == link_swapped as fn(&Home, &str) as usize {
            // As a mounted ConfigMap is laid out.
            std::fs::create_dir(home.file("..old")).unwrap();
            std::fs::rename(home.rules(), home.file("..old/rules.yaml")).unwrap();
            symlink("..old", home.file("..data")).unwrap();
            symlink("..data/rules.yaml", home.rules()).unwrap();
        }
        let daemon = home.daemon(&["run"]);
        daemon.says("home: reached").await;
        save(&home, &full(&sandbox, RETRY));
        daemon.says("rules reloaded (added `retry`; removed `idle`)").await;
        daemon.until("retried", || state(&sandbox, &task) == Some(State::Succeeded)).await;
        // And a second time: watches of single files go deaf after the first.
        if save as usize != link_swapped as fn(&Home, &str) as usize {
            save(&home, &full(&sandbox, IDLE));
            daemon.says("rules reloaded (added `idle`; removed `retry`)").await;
        }
        daemon.terminate().await;
        assert_no_harm(&sandbox);
        // The last one: the file may have been seen while a save was at work, too.
        let reload = home.audit().into_iter().rfind(|row| row.action == "reload").unwrap();
        assert_eq!(reload.server.as_str(), "-");
        assert_eq!(reload.outcome, Outcome::Accepted);
    }
    tokio::join!(
        takes_effect(in_place),
        takes_effect(renamed_over),
        takes_effect(with_a_backup),
        takes_effect(link_swapped)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_file_leaves_the_old_rules_in_force_and_says_why() {
    let sandbox = openlist().await;
    let home = Home::on(&sandbox, RETRY);
    let daemon = home.daemon(&["run"]);
    daemon.says("home: reached").await;

    let broken = full(&sandbox, &RETRY.replace("state: failed", "state: faild"));
    home.write_rules(&broken);
    daemon.says("the rules file has errors, so the old rules stay in force").await;
    daemon.says("rules.yaml:7:").await;
    assert!(daemon.said().contains("faild"), "{}", daemon.said());
    // Half a file and a file that is none, too.
    home.write_rules(&broken[..40]);
    daemon.until("a second refusal", || daemon.times_said("old rules stay in force") == 2).await;
    let task = add(&sandbox, flaky("f", 1));
    daemon.until("the old rules act", || state(&sandbox, &task) == Some(State::Succeeded)).await;

    std::fs::remove_file(home.rules()).unwrap();
    daemon.until("told that it is gone", || daemon.times_said("stay in force") == 3).await;
    let task = add(&sandbox, flaky("g", 1));
    daemon.until("the old rules act", || state(&sandbox, &task) == Some(State::Succeeded)).await;

    home.write_rules(&full(&sandbox, RETRY));
    daemon.says("rules reloaded (nothing changed)").await;
    home.write_rules(&full(&sandbox, IDLE));
    daemon.says("added `idle`").await;
    daemon.terminate().await;
    let refused = home.audit();
    let refused: Vec<_> = refused
        .iter()
        .filter(|row| row.action == "reload" && row.outcome == Outcome::Rejected)
        .collect();
    assert_eq!(refused.len(), 3);
    assert!(refused[0].detail.contains("rules.yaml:7:"), "{}", refused[0].detail);
    assert_no_harm(&sandbox);
}

/// A rule that retries what failed with a text, once, in a file that others include.
fn once(name: &str, error: &str) -> String {
    format!(
        "version: 1\nrules:\n  - name: {name}\n    match: {{ state: failed, error: {error} }}\n    \
         action: retry_some\n    max_attempts: 1\n    backoff: {{ initial: 1s, jitter: 0 }}\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_of_several_files_take_effect_whole_or_not_at_all() {
    let sandbox = openlist().await;
    let home = Home::new();
    home.write_rules(&full(&sandbox, "rule_files: rules.d/*.yaml\n"));
    let write = |name: &str, text: &str| {
        std::fs::create_dir_all(home.file("rules.d")).unwrap();
        std::fs::write(home.file("rules.d").join(name), text).unwrap();
    };
    let daemon = home.daemon(&["run"]);
    daemon.says("home: reached").await;
    let task = add(&sandbox, flaky("f", 9));
    let retries = || calls(&sandbox, Endpoint::RetrySome);
    write("20-once.yaml", &once("once", "refused"));
    daemon.says("rules reloaded (added `once`)").await;
    daemon.until("the rule acts", || retries() == 1).await;

    // One of two is broken, so the other does not come into force either. The broken one is first
    // there, since who saves may be held up between the two for longer than it is waited for.
    write("20-once.yaml", &once("once", "refused").replace("failed", "faild"));
    write("10-more.yaml", &once("more", "refused"));
    daemon.says("rules.d/20-once.yaml:4:21: error[unknown-state]").await;
    let asked = home.taskwarden(&["reload"]).output().unwrap();
    assert_eq!(asked.status.code(), Some(1));
    let said = String::from_utf8(asked.stderr).unwrap();
    assert!(said.contains("rules.d/20-once.yaml:4:21: error[unknown-state]"), "{said}");
    assert_eq!(daemon.times_said("added `more`"), 0, "{}", daemon.said());
    std::fs::write(home.file("rules.d/20-once.yaml"), b"\xff").unwrap();
    daemon.says("20-once.yaml: it is not UTF-8").await;

    // A rule that moves to another file is the same rule: what it did is not forgotten. Until the
    // file that cannot be read is gone, the old rules stay in force.
    std::fs::remove_file(home.file("rules.d/10-more.yaml")).unwrap();
    write("30-moved.yaml", &once("once", "refused"));
    std::fs::remove_file(home.file("rules.d/20-once.yaml")).unwrap();
    daemon.until("all is as it was", || daemon.times_said("(nothing changed)") == 1).await;
    let looks = polls(&sandbox).len();
    daemon.until("some looks", || polls(&sandbox).len() > looks + 3).await;
    assert_eq!((retries(), state(&sandbox, &task)), (1, Some(State::Failed)));
    write("10-more.yaml", &once("more", "refused"));
    daemon.says("rules reloaded (added `more`)").await;
    daemon.until("the new rule acts", || retries() == 2).await;
    std::fs::rename(home.file("rules.d"), home.file("old.d")).unwrap();
    daemon.says("rules reloaded (removed `more`, `once`)").await;
    daemon.terminate().await;
    assert_no_harm(&sandbox);

    // What is not there when the daemon starts keeps it from starting.
    home.write_rules(&full(&sandbox, "rule_files: [rules.d/*.yaml, own.yaml]\n"));
    let started = home.taskwarden(&["run"]).output().unwrap();
    assert_eq!(started.status.code(), Some(78));
    let said = String::from_utf8(started.stderr).unwrap();
    assert!(said.contains("error[missing-rule-file]"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_without_meaning_is_not_told_unless_a_person_asks() {
    let sandbox = openlist().await;
    let home = Home::on(&sandbox, RETRY);
    let daemon = home.daemon(&["run"]);
    daemon.says("home: reached").await;
    let commented = format!("# looked after by me\n{}\n# end\n", full(&sandbox, RETRY));
    home.write_rules(&commented);
    // Longer than a file must rest, so that this save is seen apart from what follows.
    tokio::time::sleep(Duration::from_millis(800)).await;
    assert_eq!(daemon.times_said("reload"), 0, "{}", daemon.said());
    daemon.signal("HUP");
    daemon.says("rules reloaded (nothing changed)").await;
    assert_eq!(daemon.times_said("reload"), 1);
    daemon.signal("HUP");
    daemon.until("told again", || daemon.times_said("nothing changed") == 2).await;
    daemon.terminate().await;
    assert!(home.audit().iter().all(|row| row.action != "reload"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_save_in_a_folder_that_never_rests_is_seen() {
    let (sandbox, home, task) = idle().await;
    let daemon = home.daemon(&["run"]);
    daemon.says("home: reached").await;
    let log = home.file("other.log");
    let busy = tokio::spawn(async move {
        for line in 0.. {
            std::fs::write(&log, format!("{line}")).unwrap();
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
    });
    tokio::time::sleep(MOMENT).await;
    home.write_rules(&full(&sandbox, RETRY));
    daemon.says("rules reloaded").await;
    busy.abort();
    daemon.until("retried", || state(&sandbox, &task) == Some(State::Succeeded)).await;
    daemon.terminate().await;
}

/// Starts a daemon that sends a retry which goes wrong in this way, and waits for that call.
async fn in_flight(args: &[&str], fault: Fault) -> (Sandbox, Home, Process, String) {
    let sandbox = openlist().await;
    let task = add(&sandbox, flaky("f", 1));
    sandbox.with_model(|model| {
        model.faults().next_call(Endpoint::RetrySome, fault, Phase::After);
    });
    let home = Home::on(&sandbox, RETRY);
    // A look that is too early finds nothing to do.
    tokio::time::sleep(3 * MOMENT).await;
    while Clock::system().now() < failed_at(&sandbox, &task) + SignedDuration::from_secs(1) {
        tokio::time::sleep(MOMENT).await;
    }
    let daemon = home.daemon(args);
    daemon.until("the call is out", || calls(&sandbox, Endpoint::RetrySome) == 1).await;
    (sandbox, home, daemon, task)
}

fn failed_at(sandbox: &Sandbox, task: &str) -> Timestamp {
    report(sandbox).task(task).unwrap().executions[0].ended.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_lets_the_call_in_flight_end_and_its_outcome_be_written_down() {
    async fn ended(signal: &str, args: &[&str], fault: Fault) -> (Vec<AuditRow>, Duration) {
        let (sandbox, home, mut daemon, task) = in_flight(args, fault).await;
        let began = monotonic();
        daemon.signal(signal);
        let status = daemon.ends().await;
        assert_eq!(status.code(), Some(0), "{}", daemon.said());
        let took = began.elapsed();
        assert_store_closed(&home);
        assert_eq!(calls(&sandbox, Endpoint::RetrySome), 1);
        assert_no_harm(&sandbox);
        (rows_of(&home.audit(), &task), took)
    }
    let slow = || Fault::Slow(Duration::from_secs(2));
    let ((hanging, took), (answered, _), (interrupted, _), (once, _)) = tokio::join!(
        ended("TERM", &["run"], Fault::Hang(None)),
        ended("TERM", &["run"], slow()),
        ended("INT", &["run"], slow()),
        ended("TERM", &["run", "--once"], slow()),
    );
    // It would be waited for a minute.
    assert!(took < Duration::from_secs(30), "{took:?}");
    assert_eq!(hanging.len(), 1);
    assert_eq!(hanging[0].outcome, Outcome::Unknown);
    assert_eq!(hanging[0].detail, "taskwarden ended before the answer came");
    for rows in [answered, interrupted, once] {
        assert_eq!(rows.len(), 1);
        assert_eq!(rows[0].outcome, Outcome::Accepted, "{}", rows[0].detail);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn attempts_and_waits_survive_a_kill() {
    const PATIENT: &str = "
rules:
  - name: retry
    match: { kind: offline_download, state: failed }
    action: retry_some
    max_attempts: 3
    backoff: { initial: 2s, factor: 1, jitter: 0 }
";
    let sandbox = openlist().await;
    let task = add(&sandbox, download("f").fails(1, MOMENT, REFUSED));
    let home = Home::on(&sandbox, PATIENT);
    for attempt in 1..=3 {
        let daemon = home.daemon(&["run"]);
        if attempt == 2 {
            // Carried out, but no answer comes: nobody may send it a second time.
            sandbox.with_model(|model| {
                model.faults().next_call(Endpoint::RetrySome, Fault::Hang(None), Phase::After);
            });
        }
        let retried = || calls(&sandbox, Endpoint::RetrySome) == attempt;
        daemon.until("retried", retried).await;
        if attempt < 3 {
            daemon.kill();
            continue;
        }
        daemon.says("give_up").await;
        daemon.terminate().await;
    }
    assert_no_harm(&sandbox);
    let report = report(&sandbox);
    let runs = &report.task(&task).unwrap().executions;
    assert_eq!(runs.len(), 4);
    for pair in runs.windows(2) {
        let wait = pair[1].started.duration_since(pair[0].ended.unwrap());
        assert!(wait >= SignedDuration::from_secs(2), "{wait}");
    }
    let rows = rows_of(&home.audit(), &task);
    let attempts: Vec<_> = rows.iter().map(|row| (row.action.as_str(), row.attempt)).collect();
    let retry = |attempt| ("retry_some", Some(attempt));
    assert_eq!(attempts, [retry(1), retry(2), retry(3), ("give_up", Some(3))]);
    assert!(rows.iter().all(|row| row.outcome == Outcome::Effective), "{rows:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_seen_error_survives_a_restart_of_both_sides() {
    let mut settings = settings(Flavour::OpenList);
    settings.persistence = true;
    let sandbox = real_time(settings).await;
    let task = add(&sandbox, flaky("f", 1));
    // The first daemon only sees it.
    let home = Home::on(&sandbox, &RETRY.replace("initial: 1s", "initial: 1h"));
    let daemon = home.daemon(&["run"]);
    daemon.says("home: reached").await;
    let is_known = || {
        let mut seen = looks(&home.state()).into_iter().flat_map(|look| look.seen);
        seen.any(|seen| seen.task.is_some_and(|task| &*task.common.error == REFUSED))
    };
    daemon.until("the error is written down", is_known).await;
    daemon.kill();
    home.write_rules(&full(&sandbox, &RETRY.replace("initial: 1s", "initial: 6s")));
    // The server saves a kind after three quiet seconds.
    let saved = failed_at(&sandbox, &task) + SignedDuration::from_secs(4);
    while Clock::system().now() < saved {
        tokio::time::sleep(MOMENT).await;
    }
    sandbox.restart().await.unwrap();
    let view = sandbox.with_model(|model| model.view(&task)).unwrap();
    assert_eq!((view.state, view.error.as_str()), (State::Failed, ""));
    let daemon = home.daemon(&["run"]);
    daemon.until("retried", || state(&sandbox, &task) == Some(State::Succeeded)).await;
    daemon.terminate().await;
    let rows = rows_of(&home.audit(), &task);
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0].error.as_deref(), Some(REFUSED));
    let report = report(&sandbox);
    let runs = &report.task(&task).unwrap().executions;
    let wait = runs[1].started.duration_since(runs[0].ended.unwrap());
    assert!(wait >= SignedDuration::from_secs(6), "{wait}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hanging_server_and_a_dead_one_delay_nobody() {
    let (fine, hanging, dead) = (openlist().await, openlist().await, openlist().await);
    hanging.with_model(|model| {
        model.faults().plan(FaultPlan {
            rate: 1.0,
            faults: vec![Fault::Hang(None)],
            only: None,
            phase: None,
            seed: 1,
        });
    });
    dead.go_away().await;
    // Something undone, so that it is looked at every second.
    add(&fine, download("long").then(AttemptScript::stall(MOMENT)));
    let task = add(&fine, flaky("f", 2));
    let home = Home::new();
    let all = servers(&[("a-hanging", &hanging), ("b-dead", &dead), ("fine", &fine)]);
    home.write_rules(&format!("{all}{RETRY}"));
    let mut daemon = home.daemon(&["run"]);
    daemon.until("polled", || polls(&fine).len() >= 5).await;
    daemon.until("retried", || state(&fine, &task) == Some(State::Succeeded)).await;
    // A look at the one that hangs takes a minute.
    for pair in polls(&fine).windows(2) {
        let gap = pair[1].duration_since(pair[0]);
        assert!(gap < SignedDuration::from_secs(40), "{gap}");
    }
    daemon.says("b-dead: ").await;
    // New rules do not wait for the one that hangs either, also if it is the one that changed.
    home.write_rules(&format!("{}{IDLE}", all.replace("poll: 1s", "poll: 2s")));
    daemon.says("rules reloaded").await;
    // Nor does the end of the daemon: it does not take the time that a call in flight is given, unless
    // it is the machine that is held up, which it is not time and again.
    let mut took = Vec::new();
    loop {
        let began = monotonic();
        daemon.signal("TERM");
        assert_eq!(daemon.ends().await.code(), Some(0));
        took.push(began.elapsed());
        if began.elapsed() < Duration::from_secs(5) {
            break;
        }
        assert!(took.len() < 5, "{took:?}");
        daemon = home.daemon(&["run"]);
        daemon.says("b-dead: ").await;
    }
    assert_no_harm(&fine);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_comes_later_and_whose_memory_cannot_be_read_delays_nobody() {
    let (home_server, other) = (openlist().await, openlist().await);
    let home = Home::on(&home_server, RETRY);
    let daemon = home.daemon(&["run"]);
    daemon.says("home: reached").await;
    let database = rusqlite::Connection::open(home.state().join("taskwarden.db")).unwrap();
    let unreadable = "INSERT INTO task (server, kind, id, json) VALUES ('other', 'copy', 'x', '{')";
    database.execute(unreadable, ()).unwrap();
    let lost = add(&other, flaky("lost", 1));
    let both = servers(&[("home", &home_server), ("other", &other)]);
    home.write_rules(&format!("{both}{RETRY}"));
    let unread =
        "nothing is done, because it cannot be written down: server `other`: the entry `copy x`";
    daemon.says(unread).await;
    let task = add(&home_server, flaky("f", 1));
    daemon.until("retried", || state(&home_server, &task) == Some(State::Succeeded)).await;
    assert_eq!(acted(&other), 0);
    // It is tried again now and then.
    database.execute("DELETE FROM task WHERE server = 'other'", ()).unwrap();
    daemon.until("retried too", || state(&other, &lost) == Some(State::Succeeded)).await;
    daemon.says("the store works again").await;
    daemon.terminate().await;
    assert_no_harm(&other);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_written_down_is_not_done() {
    let sandbox = openlist().await;
    let home = Home::on(&sandbox, RETRY);
    let daemon = home.daemon(&["run"]);
    daemon.says("home: reached").await;
    let database = home.state().join("taskwarden.db");
    let other = rusqlite::Connection::open(&database).unwrap();
    other.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let task = add(&sandbox, flaky("f", 1));
    daemon.says("nothing is done, because it cannot be written down").await;
    assert!(daemon.said().contains("another program holds the database"), "{}", daemon.said());
    let before = polls(&sandbox).len();
    daemon.until("polls go on", || polls(&sandbox).len() >= before + 2).await;
    assert_eq!(acted(&sandbox), 0);
    assert_eq!(state(&sandbox, &task), Some(State::Failed));
    other.execute_batch("COMMIT").unwrap();
    daemon.says("the store works again").await;
    daemon.until("retried", || state(&sandbox, &task) == Some(State::Succeeded)).await;
    assert_eq!(daemon.times_said("nothing is done"), 1, "{}", daemon.said());
    assert_eq!(daemon.times_said("the store works again"), 1);
    daemon.terminate().await;
    assert_no_harm(&sandbox);
    let rows = rows_of(&home.audit(), &task);
    assert_eq!(rows.iter().map(|row| row.attempt).collect::<Vec<_>>(), [Some(1)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_sends_nothing_and_tells_each_task_once() {
    let sandbox = openlist().await;
    let tasks = [add(&sandbox, flaky("f", 1)), add(&sandbox, flaky("g", 1))];
    let stalled = add(&sandbox, download("stalled").then(AttemptScript::stall(MOMENT)));
    let home = Home::on(
        &sandbox,
        &format!(
            "{RETRY}
  - {{ name: stalled, match: {{ state: running, stalled_for: 1s }}, action: cancel_some }}
"
        ),
    );
    let daemon = home.daemon(&["run", "--dry-run"]);
    daemon.until("told", || home.audit().len() == 3).await;
    let before = polls(&sandbox).len();
    daemon.until("polls go on", || polls(&sandbox).len() >= before + 3).await;
    let said = daemon.terminate().await;
    assert_eq!(acted(&sandbox), 0);
    let rows = home.audit();
    assert_eq!(rows.len(), 3, "{rows:#?}");
    for row in &rows {
        assert_eq!((row.mode, row.outcome), (Mode::DryRun, Outcome::Planned));
        assert_eq!(row.attempt, Some(1));
    }
    for id in tasks.iter().chain([&stalled]) {
        assert_eq!(rows_of(&rows, id).len(), 1);
    }
    assert_eq!(said.matches("would retry_some").count(), 2, "{said}");
    assert_eq!(said.matches("would cancel_some").count(), 1, "{said}");
    // It counts nothing as done: in earnest it is the first attempt.
    let daemon = home.daemon(&["run"]);
    daemon
        .until("done", || {
            tasks.iter().all(|task| state(&sandbox, task) == Some(State::Succeeded))
                && state(&sandbox, &stalled) == Some(State::Canceled)
        })
        .await;
    daemon.terminate().await;
    let live = home.audit().into_iter().filter(|row| row.mode == Mode::Live);
    let live: Vec<_> = live.collect();
    assert!(live.len() == 3 && live.iter().all(|row| row.attempt == Some(1)), "{live:#?}");
    assert_no_harm(&sandbox);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_nobody_reads_any_more_does_not_stop_it() {
    let sandbox = openlist().await;
    let home = Home::on(&sandbox, RETRY);
    let mut command = home.taskwarden(&["run", "-v"]);
    command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::piped());
    let mut child = command.spawn().unwrap();
    drop(child.stderr.take());
    let task = add(&sandbox, flaky("f", 1));
    let gone = || "the log is gone".to_owned();
    let retried = || state(&sandbox, &task) == Some(State::Succeeded);
    common::process::eventually_or("retried", retried, gone).await;
    child.kill().unwrap();
    child.wait().unwrap();
}
