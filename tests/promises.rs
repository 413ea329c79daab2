//! What is promised of long pauses, of servers that fail as a whole, of clocks, and of calls of which
//! nobody knows what came of them: each as one story against a sandbox.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail so")]

mod common;

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use common::{Told, Turned, audit, config, daemon, options, sandbox};
use jiff::SignedDuration;
use taskwarden::daemon::beat::Beat;
use taskwarden::daemon::control::OrderRequest;
use taskwarden::daemon::supervise::clients;
use taskwarden::daemon::watch::{Looked, Watch, WatchSettings};
use taskwarden::engine::audit::{AuditRow, Outcome};
use taskwarden::engine::order::Order;
use taskwarden::engine::rule::{Mode, RuleSet};
use taskwarden::engine::task::ServerName;
use taskwarden::rules::Config;
use taskwarden::sandbox::{
    Endpoint, Fault, FaultPlan, Flavour, Model, Phase, Report, RequestLine, Sandbox, Settings,
    State, TaskScript, Trigger,
};
use taskwarden::store::Store;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::yield_now;

const KIND: &str = "offline_download";
const ERROR: &str = "http status code 503";

fn settings(flavour: Flavour) -> Settings {
    Settings::new(flavour).pool(KIND, 500, 0).pool("copy", 500, 0)
}

/// Tasks of a kind that fail so many times, each run two seconds long.
fn fill(sandbox: &Sandbox, kind: &str, count: usize, fails: usize) -> Vec<String> {
    sandbox.with_model(|model| {
        let names = (0..count).map(|n| match kind {
            "copy" => format!("copy [/src](/{n}.bin) to [/dst](/)"),
            _ => format!("download http://mirror.example/{n}.bin to (/downloads)"),
        });
        let run = Duration::from_secs(2);
        names
            .map(|name| {
                model.add(TaskScript::new(kind, name).fails(fails, run, ERROR).succeeds(run))
            })
            .collect()
    })
}

fn report(sandbox: &Sandbox) -> Report {
    sandbox.with_model(|model| model.report())
}

fn acting_calls(sandbox: &Sandbox, kind: &str) -> usize {
    let report = report(sandbox);
    report.calls.iter().filter(|call| call.endpoint.acts() && call.kind == kind).count()
}

fn all_succeeded(sandbox: &Sandbox) -> bool {
    report(sandbox).tasks.iter().all(|task| task.state == State::Succeeded)
}

/// A loop whose rules the test can exchange, and to which it can give orders, at any moment.
fn exchangeable(
    config: &Config,
    state: &std::path::Path,
    turned: &Turned,
    told: &Told,
) -> Exchangeable {
    let options = options(state, turned, told);
    let home = ServerName::from("home");
    let client = Arc::clone(&clients(config, &options).unwrap()[&home]);
    let (rules, follows) = watch::channel(Arc::clone(&config.rules));
    let (stop, stops) = watch::channel(false);
    let (orders, waiting) = mpsc::channel(1);
    let watch = Watch::new(WatchSettings {
        server: "home".into(),
        client,
        poll: Duration::from_secs(15),
        request_timeout: config.servers[0].timeout,
        extra_kinds: Vec::new(),
        store: Store::open(state).unwrap(),
        rules: follows,
        stop: stops,
        orders: waiting,
        beat: Beat::new(Duration::from_secs(60)),
        clock: options.clock,
        sink: options.sink,
        seed: 0,
        speed: 1.0,
    });
    Exchangeable { watch: watch.unwrap(), rules, orders, _stop: stop }
}

struct Exchangeable {
    watch: Watch,
    rules: watch::Sender<Arc<RuleSet>>,
    orders: mpsc::Sender<OrderRequest>,
    _stop: watch::Sender<bool>,
}

const RETRY: &str = "rules:
  - name: r
    match: { state: failed }
    action: retry_some
    backoff: { initial: 60s, factor: 2, jitter: 0 }
";

#[tokio::test]
async fn a_daemon_that_was_down_for_a_day_does_not_fire_everything_at_once() {
    let (turned, told) = (Turned::new(), Told::default());
    let sandbox = sandbox(settings(Flavour::OpenList), &turned).await;
    fill(&sandbox, KIND, 300, 1);
    let state = tempfile::tempdir().unwrap();
    // No word of limits: the ones that are built in.
    let rules = "rules:\n  - name: r\n    match: { state: failed }\n    action: retry_some\n";
    let config = config(&sandbox, "", rules);
    let watch = daemon(config.clone(), state.path(), &turned, &told);
    turned.turn(Duration::from_secs(10));
    watch.watch(&"home".into()).unwrap().tick().await;
    drop(watch);
    turned.turn(Duration::from_secs(86_400));

    let daemon = daemon(config, state.path(), &turned, &told);
    let mut watch = daemon.watch(&"home".into()).unwrap();
    let began = turned.now();
    let mut starts = Vec::new();
    for _ in 0..600 {
        let before = audit(state.path()).len();
        watch.tick().await;
        starts.push((turned.now().duration_since(began), audit(state.path()).len() - before));
        if all_succeeded(&sandbox) {
            break;
        }
        turned.turn(Duration::from_secs(15));
    }
    assert!(all_succeeded(&sandbox), "nothing stalls either");
    assert!(starts[0].1 > 0, "what was due goes on at once");
    assert!(starts.iter().all(|(_, started)| *started <= 20), "{starts:?}");
    let in_an_hour = starts.iter().filter(|(at, _)| *at < SignedDuration::from_hours(1));
    assert_eq!(in_an_hour.map(|(_, started)| started).sum::<usize>(), 200);
}

/// Lets everything else go on for a moment, in which the tick must not end.
async fn beside(tick: Pin<&mut impl Future<Output = Looked>>) {
    tokio::select! {
        biased;
        looked = tick => panic!("it went on without its memory: {looked:?}"),
        () = yield_now() => {}
    }
}

#[test]
fn a_server_is_asked_while_its_memory_is_read_and_nothing_is_decided_without() {
    // One thread for whatever waits for the disk, so that the test can hold it.
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(1).build();
    let story = Box::pin(async {
        let (turned, told) = (Turned::new(), Told::default());
        let sandbox = sandbox(settings(Flavour::OpenList), &turned).await;
        fill(&sandbox, KIND, 1, 9);
        let state = tempfile::tempdir().unwrap();
        let rules = format!("{RETRY}    max_attempts: 1\n");
        let config = config(&sandbox, "", &rules);
        let first = daemon(config.clone(), state.path(), &turned, &told);
        let mut watch = first.watch(&"home".into()).unwrap();
        for _ in 0..40 {
            turned.turn(Duration::from_secs(30));
            watch.tick().await;
        }
        drop((watch, first));
        let before = audit(state.path());
        assert_eq!(before.last().unwrap().action, "give_up");
        assert_eq!(acting_calls(&sandbox, KIND), 1);

        let (busy, over) = std::sync::mpsc::channel::<()>();
        tokio::task::spawn_blocking(move || over.recv());
        let daemon = daemon(config.clone(), state.path(), &turned, &told);
        let mut watch = daemon.watch(&"home".into()).unwrap();
        let asked = report(&sandbox).calls.len();
        let lists = || {
            let calls = report(&sandbox).calls.split_off(asked);
            let of_kind = calls.iter().filter(|call| call.kind == KIND && call.applied);
            of_kind.filter(|call| call.endpoint == Endpoint::Done).count()
        };
        {
            let mut tick = std::pin::pin!(watch.tick());
            while lists() == 0 {
                beside(tick.as_mut()).await;
            }
            // The lists are on their way, and what would go on with them alone has time to.
            for _ in 0..1000 {
                beside(tick.as_mut()).await;
            }
            assert_eq!(audit(state.path()), before);
            drop(busy);
            assert!(matches!(tick.await, Looked::Done(_)), "{}", told.text());
        }
        assert_eq!(audit(state.path()), before, "it remembers that it let go of the task");
        assert_eq!(acting_calls(&sandbox, KIND), 1);

        // Who remembers nothing tries it anew.
        let other = tempfile::tempdir().unwrap();
        let forgetful = common::daemon(config, other.path(), &turned, &told);
        forgetful.watch(&"home".into()).unwrap().tick().await;
        assert_eq!(acting_calls(&sandbox, KIND), 2);

        // The end of the daemon waits for no reading.
        let (_busy, over) = std::sync::mpsc::channel::<()>();
        tokio::task::spawn_blocking(move || over.recv());
        let mut watch = daemon.watch(&"home".into()).unwrap();
        let stop = async { daemon.stopper().send_replace(true) };
        let (looked, _) = tokio::join!(watch.tick(), stop);
        assert!(matches!(looked, Looked::Stopped), "{looked:?}");
    });
    let in_time = async { tokio::time::timeout(Duration::from_secs(60), story).await };
    runtime.unwrap().block_on(in_time).expect("the first question waits for the memory");
}

#[tokio::test]
async fn a_clock_that_is_set_before_the_memory_is_there_moves_it_along_all_the_same() {
    let (turned, told) = (Turned::new(), Told::default());
    let sandbox = sandbox(settings(Flavour::OpenList), &turned).await;
    fill(&sandbox, KIND, 1, 9);
    let state = tempfile::tempdir().unwrap();
    let config = config(&sandbox, "", RETRY);
    let first = daemon(config.clone(), state.path(), &turned, &told);
    let mut watch = first.watch(&"home".into()).unwrap();
    turned.turn(Duration::from_secs(10));
    watch.tick().await;
    drop((watch, first));
    let daemon = daemon(config, state.path(), &turned, &told);
    let mut watch = daemon.watch(&"home".into()).unwrap();
    turned.set(86_400);
    turned.turn(Duration::from_secs(30));
    watch.tick().await;
    assert_eq!(acting_calls(&sandbox, KIND), 0, "it waits for a minute from the failure on");
    turned.turn(Duration::from_secs(30));
    watch.tick().await;
    assert_eq!(acting_calls(&sandbox, KIND), 1);
}

#[tokio::test]
async fn a_whole_server_failure_opens_no_breaker_and_counts_no_attempt() {
    type Which = fn(&RequestLine) -> bool;
    let everything: Which = |_| true;
    let acting: Which = |line| line.endpoint.is_some_and(Endpoint::acts);
    let plans = [
        ("a proxy without its server", Fault::Http502Page, everything),
        ("no connection lives", Fault::Reset, everything),
        ("all break down", Fault::Http5xx(500, "panic".to_owned()), everything),
        ("a proxy that lets reading through", Fault::Http502Page, acting),
        ("a reset at each call", Fault::Reset, acting),
        ("a web page at each call", Fault::WrongHtml, acting),
    ];
    for (what, fault, only) in plans {
        let (turned, told) = (Turned::new(), Told::default());
        let sandbox = sandbox(settings(Flavour::OpenList), &turned).await;
        fill(&sandbox, KIND, 12, 1);
        let state = tempfile::tempdir().unwrap();
        let rules = format!(
            "{RETRY}    max_attempts: 2\n    \
             breaker: {{ by: server, open_after: 2, within: 1h, cool_down: 1h }}\n"
        );
        let daemon = daemon(config(&sandbox, "", &rules), state.path(), &turned, &told);
        let mut watch = daemon.watch(&"home".into()).unwrap();
        turned.turn(Duration::from_secs(10));
        watch.tick().await;
        sandbox.with_model(|model| {
            model.faults().plan(FaultPlan {
                rate: 1.0,
                faults: vec![fault],
                only: Some(Arc::new(only)),
                phase: Some(Phase::Before),
                seed: 1,
            });
        });
        for _ in 0..40 {
            turned.turn(Duration::from_secs(30));
            watch.tick().await;
        }
        sandbox.with_model(|model| model.faults().off());
        for _ in 0..40 {
            turned.turn(Duration::from_secs(30));
            watch.tick().await;
        }
        assert!(all_succeeded(&sandbox), "{what}: {}", told.text());
        assert!(!told.text().contains("breaker"), "{what}: {}", told.text());
        let rows = audit(state.path());
        assert!(rows.iter().all(|row| row.attempt == Some(1)), "{what}: {rows:#?}");
        assert!(rows.iter().all(|row| row.action == "retry_some"), "{what}: {rows:#?}");
        let took = rows.iter().filter(|row| row.outcome == Outcome::Effective);
        assert_eq!(took.count(), 12, "{what}");
        assert_eq!(report(&sandbox).violations(), Vec::<String>::new(), "{what}");
    }
}

#[tokio::test]
async fn a_server_that_stays_away_is_told_of_ever_more_rarely() {
    let (turned, told) = (Turned::new(), Told::default());
    let sandbox = sandbox(settings(Flavour::OpenList), &turned).await;
    let state = tempfile::tempdir().unwrap();
    let daemon = daemon(config(&sandbox, "", RETRY), state.path(), &turned, &told);
    let mut watch = daemon.watch(&"home".into()).unwrap();
    let broken = FaultPlan {
        rate: 1.0,
        faults: vec![Fault::Http502Page],
        only: None,
        phase: Some(Phase::Before),
        seed: 1,
    };
    sandbox.with_model(|model| model.faults().plan(broken.clone()));
    for _ in 0..40 {
        turned.turn(Duration::from_secs(30));
        watch.tick().await;
    }
    let lines = |text: &str| told.text().lines().filter(|line| line.contains(text)).count();
    assert_eq!(
        lines("HTTP 502"),
        6,
        "at the 1st, 2nd, 4th, 8th, 16th and 32nd time: {}",
        told.text()
    );
    assert_eq!(lines("(still failing, 32 times since "), 1, "{}", told.text());
    // Once it was back it is told of at once again.
    sandbox.with_model(|model| model.faults().off());
    watch.tick().await;
    assert_eq!(lines("home: reached"), 1, "{}", told.text());
    sandbox.with_model(|model| model.faults().plan(broken));
    watch.tick().await;
    assert_eq!((lines("HTTP 502"), lines("still failing")), (7, 5), "{}", told.text());
}

#[tokio::test]
async fn a_restart_of_the_server_counts_no_attempt() {
    let (turned, told) = (Turned::new(), Told::default());
    let settings = Settings { persistence: true, ..settings(Flavour::OpenList) };
    let sandbox = sandbox(settings, &turned).await;
    fill(&sandbox, KIND, 12, 1);
    let state = tempfile::tempdir().unwrap();
    let daemon = daemon(config(&sandbox, "", RETRY), state.path(), &turned, &told);
    let mut watch = daemon.watch(&"home".into()).unwrap();
    for _ in 0..3 {
        turned.turn(Duration::from_secs(10));
        watch.tick().await;
        sandbox.restart().await.unwrap();
    }
    for _ in 0..20 {
        turned.turn(Duration::from_secs(15));
        watch.tick().await;
    }
    assert!(all_succeeded(&sandbox), "{}", told.text());
    let rows = audit(state.path());
    assert_eq!(rows.len(), 12, "one retry each: {rows:#?}");
    assert!(rows.iter().all(|row| row.attempt == Some(1)));
}

#[tokio::test]
async fn a_server_whose_clock_differs_is_measured_corrected_and_reported() {
    for ahead in [-3600_i64, 86_400] {
        let (turned, told) = (Turned::new(), Told::default());
        let mut settings = settings(Flavour::OpenList);
        settings.clock_offset = SignedDuration::from_secs(ahead);
        let sandbox = sandbox(settings, &turned).await;
        let ids = fill(&sandbox, KIND, 4, 2);
        turned.turn(Duration::from_secs(3));
        let state = tempfile::tempdir().unwrap();
        let daemon = daemon(config(&sandbox, "", RETRY), state.path(), &turned, &told);
        let mut watch = daemon.watch(&"home".into()).unwrap();
        for _ in 0..300 {
            let looked = watch.tick().await;
            let Looked::Done(done) = looked else { panic!("{looked:?}") };
            // It is told by the second and measured in the middle of a call.
            let off = done.0.skew.as_secs() - ahead;
            assert!(off.abs() <= 2, "{ahead}: measured {}", done.0.skew);
            turned.turn(Duration::from_secs(1));
        }
        assert!(told.text().contains("clock"), "{ahead}: {}", told.text());
        let report = report(&sandbox);
        for id in &ids {
            let task = report.task(id).unwrap();
            assert_eq!(task.state, State::Succeeded, "{ahead}");
            for (n, pair) in task.executions.windows(2).enumerate() {
                let wait = pair[1].started.duration_since(pair[0].ended.unwrap()).as_secs();
                let due = 60 << n;
                assert!((due - 3..=due + 4).contains(&wait), "{ahead}: {wait} for {due}");
            }
        }
    }
}

/// What a person does once the first of two calls has gone out.
type Interference = fn(&Exchangeable, &Config) -> Box<dyn FnOnce() + Send>;

#[tokio::test]
async fn what_a_person_changes_between_two_calls_stops_the_second() {
    let switched_off: Interference = |running, config| {
        let rules = running.rules.clone();
        let mut off = RuleSet::clone(&config.rules);
        off.mode = Mode::Off;
        let off = Arc::new(off);
        Box::new(move || {
            rules.send_replace(off);
        })
    };
    let paused: Interference = |running, _| {
        let orders = running.orders.clone();
        Box::new(move || {
            let order = Order::Pause { rule: "r".into(), until: None, why: "wait".to_owned() };
            orders.try_send(OrderRequest { order, reply: oneshot::channel().0 }).unwrap();
        })
    };
    for (what, interferes) in [("new rules", switched_off), ("a pause", paused)] {
        let (turned, told) = (Turned::new(), Told::default());
        let sandbox = sandbox(settings(Flavour::OpenList), &turned).await;
        fill(&sandbox, "copy", 3, 1);
        fill(&sandbox, KIND, 3, 1);
        let state = tempfile::tempdir().unwrap();
        let config = config(&sandbox, "", RETRY);
        let mut running = exchangeable(&config, state.path(), &turned, &told);
        turned.turn(Duration::from_secs(10));
        running.watch.tick().await;
        turned.turn(Duration::from_secs(70));
        let interfere = interferes(&running, &config);
        sandbox.with_model(|model| {
            model.on_next(
                Phase::After,
                |_, endpoint| endpoint == Endpoint::RetrySome,
                move |_| interfere(),
            );
        });
        running.watch.tick().await;
        let (first, second) = (acting_calls(&sandbox, "copy"), acting_calls(&sandbox, KIND));
        assert_eq!(first + second, 1, "{what}: one call was out before: {first}, {second}");
        let rows = audit(state.path());
        let intents = rows.iter().filter(|row| row.action == "retry_some");
        assert_eq!(intents.count(), 3, "{what}: of the rest nothing is written down");
    }
}

#[tokio::test]
async fn after_a_call_without_an_answer_the_rest_of_the_tick_waits() {
    let (turned, told) = (Turned::new(), Told::default());
    let sandbox = sandbox(settings(Flavour::OpenList), &turned).await;
    fill(&sandbox, "copy", 3, 1);
    fill(&sandbox, KIND, 3, 1);
    let state = tempfile::tempdir().unwrap();
    let daemon = daemon(config(&sandbox, "", RETRY), state.path(), &turned, &told);
    let mut watch = daemon.watch(&"home".into()).unwrap();
    turned.turn(Duration::from_secs(10));
    watch.tick().await;
    turned.turn(Duration::from_secs(70));
    sandbox.with_model(|model| {
        model.faults().next_call(Endpoint::RetrySome, Fault::Http502Page, Phase::Before);
    });
    watch.tick().await;
    assert_eq!(report(&sandbox).calls.iter().filter(|call| call.endpoint.acts()).count(), 1);
    turned.turn(Duration::from_secs(10));
    watch.tick().await;
    let acting = acting_calls(&sandbox, "copy") + acting_calls(&sandbox, KIND);
    assert_eq!(acting, 2, "the other kind has its turn");
}

#[tokio::test]
async fn a_whole_kind_is_acted_on_only_as_it_was_decided_about() {
    type Change = fn(&mut Model, &[String], &str);
    let table: [(&str, Change, Option<&str>); 3] = [
        ("nothing changes", |_, _, _| {}, None),
        (
            "another one fails",
            |model, _, running| model.force_state(running, State::Failed),
            Some("1 more tasks failed since the decision"),
        ),
        (
            "all are gone on",
            |model, ids, _| ids.iter().for_each(|id| model.force_state(id, State::Succeeded)),
            Some("nothing that it is meant for is left"),
        ),
    ];
    for (what, change, skipped) in table {
        let (turned, told) = (Turned::new(), Told::default());
        let sandbox = sandbox(settings(Flavour::OpenList), &turned).await;
        let ids = fill(&sandbox, KIND, 3, 1);
        let running = sandbox.with_model(|model| {
            let script = TaskScript::new(KIND, "download http://h.example/far to (/d)");
            model.add(script.succeeds(Duration::from_secs(100_000)))
        });
        let state = tempfile::tempdir().unwrap();
        let rules = format!(
            "rules:\n  - name: r\n    match: {{ kind: {KIND}, state: failed }}\n    \
             action: retry_failed\n    backoff: {{ initial: 60s, jitter: 0 }}\n    max_attempts: 3\n"
        );
        let daemon = daemon(config(&sandbox, "", &rules), state.path(), &turned, &told);
        let mut watch = daemon.watch(&"home".into()).unwrap();
        turned.turn(Duration::from_secs(10));
        watch.tick().await;
        turned.turn(Duration::from_secs(70));
        sandbox.with_model(|model| {
            let of_kind = |kind: &str, wanted, endpoint| kind == KIND && endpoint == wanted;
            model.on_next(
                Phase::After,
                move |kind, endpoint| of_kind(kind, Endpoint::Done, endpoint),
                move |model| {
                    model.on_next(
                        Phase::Before,
                        move |kind, endpoint| of_kind(kind, Endpoint::Undone, endpoint),
                        move |model| change(model, &ids, &running),
                    );
                },
            );
        });
        watch.tick().await;
        assert_eq!(acting_calls(&sandbox, KIND), usize::from(skipped.is_none()), "{what}");
        let rows = audit(state.path());
        let [row] = &rows[..] else { panic!("{what}: {rows:#?}") };
        let outcome = if skipped.is_some() { Outcome::SkippedChanged } else { Outcome::Accepted };
        assert_eq!(row.outcome, outcome, "{what}");
        assert_eq!(row.detail, skipped.unwrap_or_default(), "{what}");
    }
}

#[tokio::test]
async fn a_call_that_may_lie_in_a_server_that_is_away_is_waited_for_when_it_is_back() {
    let (turned, told) = (Turned::new(), Told::default());
    let sandbox = sandbox(settings(Flavour::OpenList), &turned).await;
    fill(&sandbox, KIND, 1, 1);
    let state = tempfile::tempdir().unwrap();
    let mut config = config(&sandbox, "", RETRY);
    config.servers[0].timeout = Duration::from_secs(20);
    let daemon = daemon(config, state.path(), &turned, &told);
    let mut watch = daemon.watch(&"home".into()).unwrap();
    turned.turn(Duration::from_secs(10));
    watch.tick().await;
    turned.turn(Duration::from_secs(70));
    sandbox.with_model(|model| {
        model.faults().next_call(Endpoint::RetrySome, Fault::Reset, Phase::Before);
    });
    watch.tick().await;
    assert_eq!(acting_calls(&sandbox, KIND), 1);
    sandbox.with_model(|model| {
        model.faults().plan(FaultPlan {
            rate: 1.0,
            faults: vec![Fault::Reset],
            only: None,
            phase: Some(Phase::Before),
            seed: 1,
        });
    });
    for _ in 0..20 {
        turned.turn(Duration::from_secs(30));
        watch.tick().await;
    }
    sandbox.with_model(|model| model.faults().off());
    // Twice the longest call, and five seconds.
    for _ in 0..5 {
        turned.turn(Duration::from_secs(9));
        watch.tick().await;
        assert_eq!(acting_calls(&sandbox, KIND), 1, "it may still come");
    }
    turned.turn(Duration::from_secs(9));
    watch.tick().await;
    assert_eq!(acting_calls(&sandbox, KIND), 2);
    assert_eq!(report(&sandbox).violations(), Vec::<String>::new());
}

#[tokio::test]
async fn a_clock_that_is_set_between_two_calls_holds_nothing_up() {
    for by in [86_400 * 400, -86_400] {
        let (turned, told) = (Turned::new(), Told::default());
        let sandbox = sandbox(settings(Flavour::OpenList), &turned).await;
        fill(&sandbox, "copy", 3, 2);
        fill(&sandbox, KIND, 3, 2);
        let state = tempfile::tempdir().unwrap();
        let daemon = daemon(config(&sandbox, "", RETRY), state.path(), &turned, &told);
        let mut watch = daemon.watch(&"home".into()).unwrap();
        turned.turn(Duration::from_secs(10));
        watch.tick().await;
        turned.turn(Duration::from_secs(70));
        let sets = turned.clone();
        sandbox.with_model(|model| {
            model.on_next(
                Phase::Before,
                |_, endpoint| endpoint == Endpoint::RetrySome,
                move |_| sets.set(by),
            );
        });
        for _ in 0..30 {
            watch.tick().await;
            turned.turn(Duration::from_secs(10));
        }
        assert!(told.text().contains("our clock was set"), "{by}");
        assert!(all_succeeded(&sandbox), "{by}: {}", told.text());
        let rows = audit(state.path());
        assert_eq!(rows.len(), 12, "{by}: {rows:#?}");
        assert!(rows.iter().all(|row| row.outcome == Outcome::Effective), "{by}: {rows:#?}");
    }
}

#[tokio::test]
async fn a_second_look_that_takes_too_long_is_cut_short() {
    let (turned, told) = (Turned::new(), Told::default());
    let sandbox = sandbox(settings(Flavour::OpenList), &turned).await;
    // Enough of them that single looks are cheaper than the list.
    let failing = fill(&sandbox, KIND, 20, 1);
    fill(&sandbox, KIND, 1500, 0);
    let state = tempfile::tempdir().unwrap();
    let mut config = config(&sandbox, "", RETRY);
    config.servers[0].timeout = Duration::from_secs(4);
    let daemon = daemon(config, state.path(), &turned, &told);
    let mut watch = daemon.watch(&"home".into()).unwrap();
    turned.turn(Duration::from_secs(10));
    watch.tick().await;
    sandbox.with_model(|model| {
        model.faults().plan(FaultPlan {
            rate: 1.0,
            // Four at a time, so that a fifth round would begin too late; and the first one begins in
            // time however busy the machine is.
            faults: vec![Fault::Slow(Duration::from_millis(1100))],
            only: Some(Arc::new(|line| line.endpoint == Some(Endpoint::Info))),
            phase: Some(Phase::Before),
            seed: 1,
        });
    });
    turned.turn(Duration::from_secs(70));
    watch.tick().await;
    let rows = audit(state.path());
    assert_eq!(rows.len(), 20);
    let late = |row: &&AuditRow| row.detail.contains("too slowly");
    let skipped = rows.iter().filter(late).count();
    assert!((4..=16).contains(&skipped), "{skipped}");
    for row in rows.iter().filter(late) {
        assert_eq!(row.outcome, Outcome::SkippedChanged);
    }
    // Those that were looked at in time went, and the others have their turn.
    for _ in 0..20 {
        turned.turn(Duration::from_secs(30));
        watch.tick().await;
    }
    let report = report(&sandbox);
    assert!(failing.iter().all(|id| report.task(id).unwrap().state == State::Succeeded));
    assert_eq!(report.violations(), Vec::<String>::new());
}

#[tokio::test]
async fn what_nobody_can_tell_becomes_unknown_and_counts_as_an_attempt() {
    let (turned, told) = (Turned::new(), Told::default());
    let settings = Settings { persistence: true, ..settings(Flavour::OpenList) };
    let sandbox = sandbox(settings, &turned).await;
    let ids = fill(&sandbox, KIND, 1, 9);
    let state = tempfile::tempdir().unwrap();
    let rules = format!("{RETRY}    max_attempts: 2\n");
    let daemon = daemon(config(&sandbox, "", &rules), state.path(), &turned, &told);
    let mut watch = daemon.watch(&"home".into()).unwrap();
    turned.turn(Duration::from_secs(10));
    watch.tick().await;
    // The call is carried out, its answer is lost, the task fails again, and a restart of the server
    // takes the times of that run, all before anybody looks.
    sandbox.with_model(|model| {
        model.faults().next_call(Endpoint::RetrySome, Fault::Reset, Phase::After);
    });
    turned.turn(Duration::from_secs(70));
    watch.tick().await;
    turned.turn(Duration::from_secs(10));
    sandbox.restart().await.unwrap();
    for _ in 0..30 {
        turned.turn(Duration::from_secs(15));
        watch.tick().await;
    }
    let rows = audit(state.path());
    let [first, second, give_up] = &rows[..] else { panic!("{rows:#?}") };
    assert_eq!((first.outcome, first.attempt), (Outcome::Unknown, Some(1)));
    assert!(first.detail.contains("nothing tells whether the task ran again"), "{first:#?}");
    assert_eq!((second.outcome, second.attempt), (Outcome::Effective, Some(2)));
    assert_eq!((give_up.action.as_str(), give_up.attempt), ("give_up", Some(2)));
    assert!(told.text().contains("unknown"), "{}", told.text());
    let report = report(&sandbox);
    let task = report.task(&ids[0]).unwrap();
    let retries = task.executions.iter().filter(|run| run.trigger == Trigger::RetryCall);
    assert_eq!(retries.count(), 2);
}

#[tokio::test]
async fn two_tries_in_a_row_that_did_not_take_give_the_task_up_once() {
    for flavour in [Flavour::OpenList, Flavour::AList] {
        let (turned, told) = (Turned::new(), Told::default());
        let sandbox = sandbox(settings(flavour), &turned).await;
        let id = sandbox.with_model(|model| {
            let script = TaskScript::new(KIND, "download http://h.example/a to (/d)");
            let id = model.add(script.succeeds(Duration::from_secs(100_000)));
            model.advance(Duration::from_secs(5));
            model.cancel(&id);
            id
        });
        let state = tempfile::tempdir().unwrap();
        let rules =
            RETRY.replace("{ state: failed }", "{ state: [failed, canceled], class: canceled }");
        let daemon = daemon(config(&sandbox, "", &rules), state.path(), &turned, &told);
        let mut watch = daemon.watch(&"home".into()).unwrap();
        for _ in 0..120 {
            turned.turn(Duration::from_secs(30));
            watch.tick().await;
        }
        let rows = audit(state.path());
        let [first, second, give_up] = &rows[..] else { panic!("{flavour:?}: {rows:#?}") };
        assert_eq!((first.outcome, second.outcome), (Outcome::Ineffective, Outcome::Ineffective));
        assert_eq!(give_up.action, "give_up");
        assert!(give_up.reason.contains("allow_retry_canceled"), "{}", give_up.reason);
        assert_eq!(acting_calls(&sandbox, KIND), 2, "{flavour:?}: {id}");
    }
}
