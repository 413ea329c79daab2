//! What a daemon would have written down of a busy server, made up: for tests and measurements that look
//! back on more than can be waited for.
#![allow(clippy::unwrap_used, clippy::missing_panics_doc, reason = "a test may fail so")]
#![allow(unreachable_pub, missing_docs, reason = "a module of test binaries has no outside")]

use std::collections::BTreeMap;
use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use taskwarden::engine::audit::{AuditRow, IntentId, Outcome};
use taskwarden::engine::name::TaskName;
use taskwarden::engine::observe::{After, Look, Observation};
use taskwarden::engine::rule::Mode;
use taskwarden::engine::task::{Common, Flavour, Kind, State, Task};
use taskwarden::store::{Store, WriteBatch};

/// The rules that ran.
pub const RULES: &str = r"
version: 1
servers: [{ name: home, url: 'http://127.0.0.1:1', token: x, poll: 10s }]
rules:
  - name: again
    match: { kind: upload, state: failed }
    action: retry_some
    max_attempts: 6
    backoff: { initial: 60s, factor: 1, max: 60s, jitter: 0 }
    limits: { per_tick: 1000, per_hour: 100000 }
    breaker: off
  - name: tidy
    match: { state: succeeded, age: '>4d' }
    action: delete_some
";

/// When the server was first looked at.
pub fn start() -> Timestamp {
    Timestamp::from_second(1_790_000_000).unwrap()
}

/// A task, and how often it was retried.
struct Busy {
    task: Task,
    attempts: u32,
}

impl Busy {
    fn begin(tick: i64) -> Self {
        let task = Task {
            id: format!("task-{tick:09}").as_str().into(),
            name: TaskName::new(&format!("upload file-{tick}.bin to [/drive](/films)")),
            progress: 0.0,
            started: None,
            ended: None,
            total_bytes: 1 << 30,
            common: Common {
                creator: "ann".into(),
                roles: [2].into(),
                state: State::Pending,
                status: "".into(),
                error: "".into(),
            }
            .into(),
        };
        Self { task, attempts: 0 }
    }

    fn retry(&mut self, retries: usize, now: Timestamp) -> AuditRow {
        self.attempts += 1;
        self.task.state = State::Pending;
        AuditRow {
            id: IntentId(i64::try_from(retries).unwrap()),
            time: now,
            server: "home".into(),
            rule: Some("again".into()),
            action: "retry_some".to_owned(),
            kind: Some(Kind::Upload),
            task_id: Some(self.task.id.clone()),
            task_name: Some(self.task.name.shown().to_owned()),
            attempt: Some(self.attempts),
            reason: "failed for 1m".to_owned(),
            error: Some(self.task.error.to_string()),
            class: None,
            mode: Mode::Live,
            outcome: Outcome::Effective,
            detail: String::new(),
            rules_revision: "r".to_owned(),
        }
    }
}

/// Writes down what a server did on which a task begins every ten seconds: a fourth of the runs fails
/// and is retried a minute later, and a task leaves the list five hours after it succeeded. Returns how
/// many transitions that were, and how many retries.
pub async fn busy_server(state: &Path, transitions: usize) -> (usize, usize) {
    let store = Store::open(state).unwrap();
    let at = |tick: i64| start() + SignedDuration::from_secs(10 * tick);
    // By the tick at which something happens to them.
    let mut tasks: BTreeMap<i64, Vec<Busy>> = BTreeMap::new();
    let mut batch = WriteBatch::new("home".into());
    let (mut seen_in_all, mut retries, mut random) = (0, 0, 42_u64);
    let mut tick = 0;
    while seen_in_all < transitions {
        let (now, mut seen) = (at(tick), Vec::new());
        let mut due = tasks.remove(&tick).unwrap_or_default();
        due.push(Busy::begin(tick));
        for mut busy in due {
            let task = &mut busy.task;
            // In how many ticks something happens to it again; `None` when it left the list.
            let wait = match task.state {
                State::Pending if task.ended.is_none() && task.status.is_empty() => {
                    task.status = "waiting".into();
                    Some(1)
                }
                State::Pending => {
                    (task.state, task.started, task.ended) =
                        (State::Running, Some(now.into()), None);
                    task.error = "".into();
                    Some(20)
                }
                State::Running => {
                    task.ended = Some(now.into());
                    random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    if (random >> 33).is_multiple_of(4) && busy.attempts < 5 {
                        task.state = State::Failed;
                        task.error = format!("trial {}: connection reset", random >> 60).into();
                        Some(6)
                    } else {
                        task.state = State::Succeeded;
                        Some(1800)
                    }
                }
                State::Failed => {
                    retries += 1;
                    batch.new_rows.push(busy.retry(retries, now));
                    tasks.entry(tick + 1).or_default().push(busy);
                    continue;
                }
                _ => None,
            };
            seen.push(Observation {
                kind: Kind::Upload,
                id: busy.task.id.clone(),
                task: wait.map(|_| busy.task.clone().into()),
                still_since: None,
            });
            if let Some(wait) = wait {
                tasks.entry(tick + wait).or_default().push(busy);
            }
        }
        seen_in_all += seen.len();
        batch.looks.push(Look {
            server: "home".into(),
            time: now,
            after: if tick == 0 { After::Start } else { After::Look(at(tick - 1)) },
            flavour: Flavour::OpenList,
            skew: SignedDuration::ZERO,
            unread: [].into(),
            absent: [].into(),
            seen,
        });
        if batch.looks.len() == 2000 || seen_in_all >= transitions {
            let full = std::mem::replace(&mut batch, WriteBatch::new("home".into()));
            store.write(full).await.unwrap();
        }
        tick += 1;
    }
    (seen_in_all, retries)
}
