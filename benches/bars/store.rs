//! Writing down what is done.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use taskwarden::engine::audit::{AuditRow, IntentId, Outcome};
use taskwarden::engine::class::Class;
use taskwarden::engine::memory::{Changes, Memory, Progress, Snapshot, Subject};
use taskwarden::engine::name::TaskName;
use taskwarden::engine::observe::Observer;
use taskwarden::engine::rule::Mode;
use taskwarden::engine::task::{Common, Flavour, Kind, State, Task};
use taskwarden::store::{Store, WriteBatch};

use crate::machine::{median, now};
use crate::{Bar, Table};

fn row(id: IntentId, time: Timestamp, outcome: Outcome) -> AuditRow {
    let n = id.0;
    AuditRow {
        id,
        time,
        server: "home".into(),
        rule: Some(format!("busy {}", n % 100).as_str().into()),
        action: "retry_some".to_owned(),
        kind: Some(Kind::Copy),
        task_id: Some(format!("{:021}", n % 100_000).as_str().into()),
        task_name: Some(format!("copy [/source](/library/Episode {n}.mkv) to [/drive](/library)")),
        attempt: Some(u32::try_from(n % 8 + 1).unwrap()),
        reason: "failed for 1m12s; attempt 1 of 8".to_owned(),
        error: Some(format!("failed to upload file: code: {}, message: busy", n % 200)),
        class: Some(Class::ServerError),
        mode: Mode::Live,
        outcome,
        detail: String::new(),
        rules_revision: "0123456789abcdef".to_owned(),
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().build().unwrap()
}

/// A store with so many audit rows, a minute between two, the last of them now.
pub(crate) fn fill(dir: &Path, rows: i64, now: Timestamp) {
    let store = Store::open(dir).unwrap();
    let ids: Vec<i64> = (0..rows).collect();
    runtime().block_on(async {
        for ids in ids.chunks(10_000) {
            let new_rows = ids.iter().map(|n| {
                let time = now - SignedDuration::from_secs(rows - n);
                row(store.next_intent_id(), time, Outcome::Effective)
            });
            let batch =
                WriteBatch { new_rows: new_rows.collect(), ..WriteBatch::new("home".into()) };
            store.write(batch).await.unwrap();
        }
    });
}

/// Adds what a daemon remembers of so many tasks of one look, a third of which failed and were retried.
pub(crate) fn remember(dir: &Path, tasks: usize, now: Timestamp) {
    let store = Store::open(dir).unwrap();
    let listed = (0..tasks).map(|n| Task {
        id: format!("{n:021}").as_str().into(),
        name: TaskName::new(&format!(
            "copy [/source](/library/Episode {n}.mkv) to [/drive](/library)"
        )),
        progress: 100.0,
        started: Some((now - SignedDuration::from_secs(600)).into()),
        ended: Some((now - SignedDuration::from_secs(60)).into()),
        total_bytes: 1 << 30,
        common: Common {
            creator: "admin".into(),
            roles: [2].into(),
            state: if n % 3 == 0 { State::Failed } else { State::Succeeded },
            status: "".into(),
            error: match n % 3 {
                0 => format!("failed to upload file: code: {}, message: busy", n % 200).into(),
                _ => "".into(),
            },
        }
        .into(),
    });
    let snapshot = Snapshot {
        server: "home".into(),
        flavour: Flavour::OpenList,
        skew: SignedDuration::ZERO,
        kinds: [(Kind::Copy, listed.map(Arc::new).collect())].into(),
        unread: BTreeMap::new(),
    };
    let mut memory = Memory::new("home".into());
    memory.fold(&snapshot, now);
    let failed = snapshot.kinds[&Kind::Copy].iter().filter(|task| task.state == State::Failed);
    let progress = failed.map(|task| {
        let progress = Progress {
            attempts: 3,
            first_failure: task.ended,
            last_action: Some(now.into()),
            ..Progress::default()
        };
        (Subject::Task(Kind::Copy, task.id.clone()), "busy 1".into(), Some(progress))
    });
    memory.absorb(Changes { progress: progress.collect(), ..Changes::default() });
    let look = Observer::default().look(&snapshot, &memory, now, (true, &[]));
    let batch = WriteBatch {
        memory: Some(Arc::new(memory)),
        looks: look.into_iter().collect(),
        ..WriteBatch::new("home".into())
    };
    runtime().block_on(store.write(batch)).unwrap();
}

/// How many tasks a second are written down as the daemon does it: the intents of a batch of 100 are
/// on the disk before the call would go out, and then what came of them.
pub(crate) fn audit(table: &mut Table, runs: usize) {
    const BATCH: usize = 100;
    const BATCHES: usize = 50;
    // Beside the build, since a folder for temporary files is often in memory.
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let store = Store::open(dir.path()).unwrap();
    let time: Timestamp = "2026-03-01T12:00:00Z".parse().unwrap();
    let rates = (0..runs).map(|_| {
        let began = now();
        runtime().block_on(async {
            for _ in 0..BATCHES {
                let new_rows: Vec<AuditRow> = (0..BATCH)
                    .map(|_| row(store.next_intent_id(), time, Outcome::Planned))
                    .collect();
                let accepted =
                    new_rows.iter().map(|row| (row.id, Outcome::Accepted, String::new())).collect();
                let intents = WriteBatch { new_rows, ..WriteBatch::new("home".into()) };
                store.write(intents).await.unwrap();
                let answers = WriteBatch { outcomes: accepted, ..WriteBatch::new("home".into()) };
                store.write(answers).await.unwrap();
            }
        });
        (BATCH * BATCHES) as f64 / began.elapsed().as_secs_f64()
    });
    let rate = median(rates.collect());
    table.row(
        "intents and answers on the disk, in batches of 100",
        rate,
        "tasks/s",
        Bar::AtLeast(5_000.0),
    );
}
