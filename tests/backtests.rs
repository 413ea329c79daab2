//! A backtest of the rules that really ran comes to what was really done, whatever befell the daemon and
//! the server meanwhile.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail so")]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use common::past::{assert_reproduced, looks};
use common::{Told, Turned, audit, config, options, sandbox};
use jiff::{SignedDuration, Timestamp};
use taskwarden::daemon::beat::Beat;
use taskwarden::daemon::supervise::clients;
use taskwarden::daemon::watch::{Watch, WatchSettings};
use taskwarden::engine::audit::{AuditRow, IntentId, Trouble};
use taskwarden::engine::name::TaskName;
use taskwarden::engine::observe::{After, Look, Observation};
use taskwarden::engine::replay::{self, Deed, Replay};
use taskwarden::engine::rule::RuleSet;
use taskwarden::engine::task::{Common, Kind, State, Task};
use taskwarden::rules::{Config, Source, load};
use taskwarden::sandbox::{Fault, FaultPlan, Flavour, Settings, TaskScript};
use taskwarden::store::{Reader, Store};
use tokio::sync::{mpsc, watch};

/// Rules that use what there is: limits, breakers, jitter, ages, schedules, dry runs, whole kinds.
const RULES: &str = r"
rules:
  - name: tell
    match: { state: failed, age: '>2m' }
    action: notify
    continue: true
  - name: hopeless
    match: { state: failed, error: 'status code 404' }
    action: retry_some
    max_attempts: 1
    backoff: { initial: 20s, factor: 2, max: 10m }
    on_give_up: [notify, delete_some]
  - name: shown
    match: { state: failed, class: [throttled, network] }
    action: delete_some
    mode: dry_run
  - name: flaky
    match: { kind: offline_download, state: failed }
    action: retry_some
    max_attempts: 6
    give_up_after: 40m
    backoff: { initial: 20s, factor: 2, max: 10m }
    limits: { per_tick: 3, per_hour: 40 }
    breaker: { open_after: 4, within: 5m, cool_down: 3m }
  - name: stalled
    match: { state: running, stalled_for: '>3m' }
    action: cancel_some
    max_attempts: 2
  - name: by name
    match: { kind: copy, state: [failed, canceled] }
    identity: name
    action: retry_some
    max_attempts: 3
    only_during: ['00:00-23:00']
    backoff: { initial: 30s }
    limits: { max_share: 0.5 }
  - name: all at once
    match: { kind: upload, state: failed }
    action: retry_failed
    max_attempts: 4
    backoff: { initial: 1m }
  - name: tidy
    match: { state: succeeded, age: '>5m' }
    action: delete_some
    limits: { per_tick: 2 }
  - name: sweep
    match: { kind: offline_download, state: succeeded }
    action: clear_succeeded
    schedule: '*/20 * * * *'
";

/// Other rules of the same names.
fn other_rules() -> [String; 3] {
    let slower = RULES.replace("20s", "45s").replace("per_tick: 3", "per_tick: 1");
    let hourly = RULES
        .replace("    give_up_after: 40m\n", "    schedule: '*/7 * * * *'\n")
        .replace("per_hour: 40", "per_hour: 7");
    let unbroken = RULES
        .replace("breaker: { open_after: 4, within: 5m, cool_down: 3m }", "breaker: off")
        .replace("schedule: '*/20 * * * *'", "limits: { only_if_undone_below: 3 }")
        .replace("age: '>5m'", "age: '>50s'");
    let all = [slower, hourly, unbroken];
    assert!(all.iter().all(|rules| rules != RULES));
    all
}

/// The same without what has all tasks looked at each time.
fn of_single_tasks(rules: &str) -> String {
    let rules = rules.replace("identity: name", "identity: id");
    rules.replace("retry_failed", "retry_some").replace("clear_succeeded", "delete_some")
}

/// Draws of a seed.
struct Draws(u64);

impl Draws {
    fn below(&mut self, many: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % many
    }

    fn one_in(&mut self, many: u64) -> bool {
        self.below(many) == 0
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[usize::try_from(self.below(all.len() as u64)).unwrap()]
    }
}

/// A loop whose rules can be exchanged.
struct Loop {
    watch: Watch,
    rules: watch::Sender<Arc<RuleSet>>,
    _stop: watch::Sender<bool>,
}

impl Loop {
    fn start(config: &Config, state: &Path, turned: &Turned) -> Self {
        let options = options(state, turned, &Told::default());
        let client = Arc::clone(&clients(config, &options).unwrap()["home"]);
        let (rules, follows) = watch::channel(Arc::clone(&config.rules));
        let (stop, stops) = watch::channel(false);
        let watch = Watch::new(WatchSettings {
            server: "home".into(),
            client,
            poll: config.servers[0].poll,
            request_timeout: config.servers[0].timeout,
            extra_kinds: Vec::new(),
            store: Store::open(state).unwrap(),
            rules: follows,
            stop: stops,
            orders: mpsc::channel(1).1,
            beat: Beat::new(Duration::from_secs(60)),
            clock: options.clock,
            sink: options.sink,
            seed: 0,
            speed: 1.0,
        });
        Self { watch: watch.unwrap(), rules, _stop: stop }
    }
}

const SERVER: &str = "    timeout: 1s\n    poll: 10s";

/// A part of the work, and what becomes of it.
fn work(draws: &mut Draws, number: usize) -> TaskScript {
    let errors = [
        "http status code 503",
        "http status code 404",
        "dial tcp 192.0.2.7:443: i/o timeout",
        "429 Too Many Requests",
        "trial and error",
    ];
    // Some tasks are of the same name.
    let name = if draws.one_in(4) { number / 10 } else { number };
    let script = match draws.below(3) {
        0 => TaskScript::new("upload", format!("upload {name}.bin to [/115](/films)")),
        1 => TaskScript::new("copy", format!("copy [/a](/{name}.mkv) to [/quark](/films)")),
        _ => TaskScript::new(
            "offline_download",
            format!("download http://h.example/{name}.iso to (/d)"),
        ),
    };
    let lasts = Duration::from_secs(1 + draws.below(60));
    let times = usize::try_from(draws.below(7)).unwrap();
    let script = script.fails(times, lasts, draws.of(&errors));
    if draws.one_in(6) {
        script.then(taskwarden::sandbox::AttemptScript::stall(Duration::from_secs(900)))
    } else {
        script.succeeds(lasts)
    }
}

/// What a run was.
#[derive(Debug)]
struct Run {
    /// The rules at its beginning.
    rules: String,
    /// When others took their place.
    reloaded: Option<Timestamp>,
    /// How often something befell it.
    restarts: usize,
    aways: usize,
    reboots: usize,
    meddled: usize,
}

/// A run of the daemon, with what befalls it drawn from the seed.
async fn run(state: &Path, seed: u64) -> Run {
    let mut draws = Draws(seed.wrapping_mul(0x1234_5678_9abc_def1));
    let turned = Turned::new();
    let flavour = draws.of(&[Flavour::OpenList, Flavour::AList]);
    let settings = Settings::new(flavour)
        .pool("offline_download", 5, u32::try_from(draws.below(2)).unwrap())
        .pool("copy", 3, 0);
    let sandbox = sandbox(settings, &turned).await;
    let rate = draws.of(&[0.0, 0.05, 0.15, 0.3]);
    let faults = vec![
        Fault::Http5xx(500, "oops".to_owned()),
        Fault::Http502Page,
        Fault::Reset,
        Fault::Truncate,
        Fault::Code401,
        Fault::GarbageJson,
        Fault::EmptyBody,
        Fault::Hang(Some(Duration::from_millis(5))),
    ];
    let trouble = |rate: f64, seed: u64| {
        let plan = FaultPlan { rate, faults: faults.clone(), only: None, phase: None, seed };
        sandbox.with_model(|model| model.faults().plan(plan));
    };
    trouble(rate, seed);
    let mut all = other_rules().to_vec();
    all.push(RULES.to_owned());
    let rules = all.swap_remove(usize::try_from(draws.below(4)).unwrap());
    let reloads = draws.one_in(3);
    let mut now = config(&sandbox, SERVER, &rules);
    let mut ids = Vec::new();
    let mut run = Run { rules, reloaded: None, restarts: 0, aways: 0, reboots: 0, meddled: 0 };
    let mut home = Some(Loop::start(&now, state, &turned));
    let mut away = 0;
    for tick in 0..400 {
        if tick == 0 || draws.one_in(12) {
            for _ in 0..=draws.below(8) {
                let script = work(&mut draws, ids.len());
                ids.push(sandbox.with_model(|model| model.add(script)));
            }
        }
        if draws.one_in(60) {
            // The lock must be free for the next one.
            home = None;
            run.restarts += 1;
        }
        if away == 0 && draws.one_in(90) {
            away = 2 + draws.below(20);
            run.aways += 1;
            trouble(1.0, seed);
        } else if away > 0 {
            away -= 1;
            if away == 0 {
                trouble(rate, seed + tick);
            }
        }
        if draws.one_in(150) {
            sandbox.with_model(taskwarden::sandbox::Model::restart);
            run.reboots += 1;
        }
        if draws.one_in(12) {
            let id = &ids[usize::try_from(draws.below(ids.len() as u64)).unwrap()];
            let what = draws.below(3);
            sandbox.with_model(|model| match what {
                0 => model.retry(id),
                1 => model.cancel(id),
                _ => model.delete(id),
            });
            run.meddled += 1;
        }
        let home = home.get_or_insert_with(|| Loop::start(&now, state, &turned));
        if reloads && run.reloaded.is_none() && tick > 150 && draws.one_in(30) {
            run.reloaded = Some(turned.now());
            now = config(&sandbox, SERVER, &all[0]);
            home.rules.send_replace(Arc::clone(&now.rules));
        }
        home.watch.tick().await;
        // Not all looks are the same time apart.
        let pause = if draws.one_in(50) { draws.below(1_800_000) } else { 10_000 };
        turned.turn(Duration::from_millis(pause + 137 * draws.below(7)));
    }
    run
}

/// What rules would have done.
fn replayed(state: &Path, rules: &str, whole_every: SignedDuration) -> Vec<Deed> {
    let troubles = Reader::open(state).unwrap().troubles().unwrap();
    replayed_looks((&looks(state), &audit(state)), troubles, rules, whole_every)
}

fn replayed_looks(
    (looks, rows): (&[Look], &[AuditRow]),
    troubles: BTreeMap<IntentId, Trouble>,
    rules: &str,
    whole_every: SignedDuration,
) -> Vec<Deed> {
    let text = format!(
        "version: 1\nservers: [{{ name: home, url: 'http://127.0.0.1:1', token: x }}]\n{rules}"
    );
    let config = load(Source::new("other.yaml", &text)).config.unwrap();
    let settings = replay::Settings {
        server: "home".into(),
        seed: 0,
        poll: SignedDuration::from_secs(10),
        settles: SignedDuration::from_secs(7),
        from: Timestamp::MIN,
        whole_every,
        troubles,
    };
    let mut replay = Replay::new(&config.rules, settings);
    for (place, look) in looks.iter().enumerate() {
        let next = looks.get(place + 1);
        let here = rows
            .iter()
            .filter(|row| row.time >= look.time && next.is_none_or(|next| row.time < next.time));
        let here: Vec<AuditRow> = here.cloned().collect();
        replay.look(look.clone(), &here, next.is_some_and(|next| next.after == After::Start));
    }
    replay.deeds
}

/// Leaving out the tasks of which nothing is wanted changes nothing.
fn assert_part_is_whole(state: &Path, rules: &str) {
    let whole = replayed(state, rules, SignedDuration::ZERO);
    let part = replayed(state, rules, replay::WHOLE_EVERY);
    let (same, differences) = replay::differences(&whole, &part);
    assert!(differences.is_empty(), "{rules}\n{differences:#?}");
    assert_eq!(same, whole.len());
}

#[test]
fn what_time_alone_makes_a_rule_do_is_done_at_its_moment() {
    let at = |seconds: i64| Timestamp::from_second(1_790_000_000 + seconds).unwrap();
    let listed = |state| Task {
        id: "a".into(),
        name: TaskName::new("copy [/src](/a) to [/dst](/)"),
        progress: 0.0,
        started: Some(at(-1).into()),
        ended: Some(at(0).into()),
        total_bytes: 1,
        common: Common {
            creator: "admin".into(),
            roles: [2].into(),
            state,
            status: "".into(),
            error: "".into(),
        }
        .into(),
    };
    let look = |seconds, after, task: Option<Task>| Look {
        server: "home".into(),
        time: at(seconds),
        after,
        flavour: taskwarden::engine::task::Flavour::OpenList,
        skew: SignedDuration::ZERO,
        unread: BTreeSet::new(),
        absent: BTreeSet::new(),
        seen: task
            .into_iter()
            .map(|task| Observation {
                kind: Kind::Copy,
                id: "a".into(),
                task: Some(Arc::new(task)),
                still_since: None,
            })
            .collect(),
    };
    for (state, rule, expected) in [
        (State::Succeeded, "match: { age: '>5m' }, action: delete_some", "300001 delete_some"),
        (State::Succeeded, "match: { age: '>=5m' }, action: delete_some", "300000 delete_some"),
        (
            State::Failed,
            "match: { state: failed }, action: retry_some, backoff: { initial: 50m }, give_up_after: 10m",
            "600000 give_up",
        ),
        (
            State::Failed,
            "match: { state: failed }, action: retry_some, backoff: { initial: 5m, jitter: 0 }",
            "300000 retry_some",
        ),
    ] {
        let looks = [
            look(5, After::Start, Some(listed(state))),
            // What was seen in between were the same lists.
            look(2000, After::Look(at(1990)), None),
        ];
        for whole_every in [SignedDuration::ZERO, replay::WHOLE_EVERY] {
            let rules = format!("rules: [{{ name: r, {rule} }}]");
            let deeds = replayed_looks((&looks, &[]), BTreeMap::new(), &rules, whole_every);
            let after = |deed: &Deed| deed.time.duration_since(at(0)).as_millis();
            let deeds: Vec<String> =
                deeds.iter().map(|deed| format!("{} {}", after(deed), deed.action)).collect();
            assert_eq!(deeds, [expected], "{rule}");
        }
    }
}

/// So many runs; `SEEDS=500 cargo test --test backtests` makes more of them, `FIRST=77 SEEDS=1` one.
fn seeds() -> std::ops::Range<u64> {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse().unwrap());
    let first = number("FIRST").unwrap_or(0);
    first..first + number("SEEDS").unwrap_or(4)
}

#[tokio::test]
async fn a_backtest_of_the_rules_that_ran_is_what_was_done() {
    let (mut restarts, mut aways, mut reboots, mut meddled, mut reloads) = (0, 0, 0, 0, 0);
    for seed in seeds() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path();
        let run = run(state, seed).await;
        // Two runs of a seed are the same.
        println!("seed {seed}: {} looks, {} rows", looks(state).len(), audit(state).len());
        let file = format!(
            "version: 1\nservers:\n  - name: home\n    url: http://127.0.0.1:1\n    token: x\n\
             {SERVER}\n{}",
            run.rules
        );
        std::fs::write(state.join("rules.yaml"), file).unwrap();
        let rows = audit(state);
        let until = run.reloaded.unwrap_or(Timestamp::MAX);
        let by_rules = |row: &&AuditRow| row.rule.is_some() && row.time < until;
        let done: Vec<&AuditRow> = rows.iter().filter(by_rules).collect();
        assert!(done.len() > 30, "{seed}: {}", done.len());
        let shown = until.to_string();
        let mut args = vec!["--rules", "rules.yaml"];
        if run.reloaded.is_some() {
            args.extend(["--until", &shown]);
        }
        assert_eq!(assert_reproduced(state, &args), done.len() as u64, "{seed}");
        // From any moment on too.
        let since = done[done.len() / 2].time;
        let later = done.iter().filter(|row| row.time >= since).count() as u64;
        let since = since.to_string();
        args.extend(["--since", &since]);
        assert_eq!(assert_reproduced(state, &args), later, "{seed}");
        if run.reloaded.is_none() {
            let mut done: Vec<Deed> = done.into_iter().filter_map(Deed::of).collect();
            let mut deeds = replayed(state, &run.rules, replay::WHOLE_EVERY);
            done.sort();
            deeds.sort();
            assert_eq!(deeds, done, "to the last attempt number");
        }
        let other = &other_rules()[usize::try_from(seed % 3).unwrap()];
        assert_part_is_whole(state, other);
        assert_part_is_whole(state, &of_single_tasks(other));
        restarts += run.restarts;
        aways += run.aways;
        reboots += run.reboots;
        meddled += run.meddled;
        reloads += usize::from(run.reloaded.is_some());
    }
    for befell in [restarts, aways, reboots, meddled, reloads] {
        assert!(befell > 0 || seeds().count() < 4, "each happens in some run");
    }
}
