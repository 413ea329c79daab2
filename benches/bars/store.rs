//! Writing down what is done.

use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use taskwarden::engine::audit::{AuditRow, IntentId, Outcome};
use taskwarden::engine::class::Class;
use taskwarden::engine::rule::Mode;
use taskwarden::engine::task::Kind;
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
