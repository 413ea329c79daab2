//! Old rows, the room they leave, and backups.

use super::*;
use std::os::unix::fs::PermissionsExt as _;

/// Rows of some size, done with, and none of them open.
fn done(ids: std::ops::RangeInclusive<i64>) -> WriteBatch {
    let reason = "x".repeat(900);
    rows(
        ids.map(|id| AuditRow { outcome: Outcome::Effective, reason: reason.clone(), ..row(id) })
            .collect(),
    )
}

fn older_than(second: i64) -> Keep {
    Keep { audit_since: Some(at(second)), ..Keep::default() }
}

#[tokio::test]
async fn rows_go_by_age_and_the_file_shrinks() {
    let dir = TempDir::new().unwrap();
    let store = Store::open(dir.path()).unwrap();
    store.write(WriteBatch { memory: Some(memory(changes())), ..done(1..=5000) }).await.unwrap();
    let pruned = store.prune(older_than(4991)).await.unwrap();
    assert_eq!(pruned.rows, 4990);
    assert_eq!(ids(&audit(dir.path())), (4991..=5000).collect::<Vec<_>>());
    assert!(pruned.bytes > 4_000_000, "{pruned:?}");
    // Nothing is left to do, and what is remembered of tasks stays.
    assert_eq!(store.prune(older_than(4991)).await.unwrap(), Pruned::default());
    assert_eq!(store.reader().unwrap().load(&home()).unwrap(), changes());
    drop(store);
    let size = fs::metadata(dir.path().join(DATABASE)).unwrap().len();
    assert!(size < 200_000, "{size}");
}

#[tokio::test]
async fn rows_go_by_size_the_oldest_first() {
    let dir = TempDir::new().unwrap();
    let store = Store::open(dir.path()).unwrap();
    store.write(done(1..=5000)).await.unwrap();
    store.prune(Keep { size: Some(2_000_000), ..Keep::default() }).await.unwrap();
    let left = ids(&audit(dir.path()));
    assert!(left.len() > 1000 && left.len() < 2200, "{}", left.len());
    let first = *left.first().unwrap();
    assert_eq!(left, (first..=5000).collect::<Vec<_>>());
    let size = store.reader().unwrap().size_bytes().unwrap();
    drop(store);
    assert!(fs::metadata(dir.path().join(DATABASE)).unwrap().len() <= 2_000_000, "{size}");
}

#[tokio::test]
async fn neither_the_last_number_nor_an_open_intent_goes() {
    let dir = TempDir::new().unwrap();
    let store = Store::open(dir.path()).unwrap();
    store.write(rows(vec![row(2)])).await.unwrap();
    store.write(done(3..=9)).await.unwrap();
    // A limit that nothing can meet takes no more either.
    store.prune(Keep { size: Some(1), ..older_than(100) }).await.unwrap();
    assert_eq!(ids(&audit(dir.path())), [2, 9]);
    drop(store);
    let store = Store::open(dir.path()).unwrap();
    assert_eq!(store.next_intent_id(), IntentId(10));
    // What is learnt of a row that went is no reason to refuse the rest.
    let late = WriteBatch { new_rows: vec![row(11)], ..outcome(5, Outcome::Unknown, "") };
    store.write(late).await.unwrap();
    store.write(outcome(12, Outcome::Unknown, "")).await.unwrap_err();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_goes_ahead_of_pruning() {
    let dir = TempDir::new().unwrap();
    let store = Store::open(dir.path()).unwrap();
    store.write(done(1..=20_000)).await.unwrap();
    let pruning = tokio::spawn({
        let store = store.clone();
        async move { store.prune(older_than(20_000)).await }
    });
    // In rows and not in time, since the disk belongs to many tests at once: between a question and
    // its answer a step or two out of a hundred are done, unless this thread is held up in between.
    let connection = Connection::open(dir.path().join(DATABASE)).unwrap();
    let count = |row: &rusqlite::Row<'_>| row.get::<_, i64>(0);
    let left = || connection.query_row("SELECT count(*) FROM audit", (), count).unwrap();
    let (mut in_turn, mut late) = (0, 0);
    for id in 20_001..=20_100 {
        let before = left();
        store.write(done(id..=id)).await.unwrap();
        match before + 1 - left() {
            0 => {}
            1..2000 => in_turn += 1,
            _ => late += 1,
        }
    }
    assert_eq!(pruning.await.unwrap().unwrap().rows, 19_999);
    assert!(in_turn > 2 * late, "{in_turn} in turn, {late} late");
}

#[tokio::test]
async fn a_database_made_without_it_learns_to_shrink() {
    let (_dir, path) = used_folder();
    let connection = Connection::open(&path).unwrap();
    connection
        .execute_batch("PRAGMA journal_mode = delete; PRAGMA auto_vacuum = none; VACUUM")
        .unwrap();
    drop(connection);
    let writer = Writer::open(&path).unwrap();
    let mode: i64 =
        writer.connection.pragma_query_value(None, "auto_vacuum", |row| row.get(0)).unwrap();
    assert_eq!(mode, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_beside_a_writer_is_whole_and_of_one_moment() {
    let dir = TempDir::new().unwrap();
    let store = Store::open(dir.path()).unwrap();
    store.write(WriteBatch { memory: Some(memory(changes())), ..done(1..=2000) }).await.unwrap();
    let writer = tokio::spawn({
        let store = store.clone();
        async move {
            for id in (2001..=2400).step_by(2) {
                store.write(done(id..=id + 1)).await.unwrap();
            }
        }
    });
    let elsewhere = TempDir::new().unwrap();
    let target = elsewhere.path().join("taskwarden.db");
    let size = backup(dir.path(), &target, false).unwrap();
    writer.await.unwrap();
    let metadata = fs::metadata(&target).unwrap();
    assert_eq!((metadata.permissions().mode() & 0o777, metadata.len()), (0o600, size));
    let kept = ids(&audit(elsewhere.path()));
    // No commit is there by half.
    assert!(kept.len() >= 2000 && kept.len().is_multiple_of(2), "{}", kept.len());
    assert_eq!(kept, (1..=i64::try_from(kept.len()).unwrap()).collect::<Vec<_>>());
    // It is put in place by being put in place.
    let restored = Store::open(elsewhere.path()).unwrap();
    assert_eq!(restored.reader().unwrap().load(&home()).unwrap(), changes());
}

#[tokio::test]
async fn a_backup_takes_nothing_elses_place() {
    let dir = TempDir::new().unwrap();
    let elsewhere = TempDir::new().unwrap();
    let target = elsewhere.path().join("copy.db");
    let missing = backup(dir.path(), &target, false).unwrap_err();
    assert!(matches!(missing, BackupError::Open(OpenError::Missing { .. })), "{missing:?}");
    drop(Store::open(dir.path()).unwrap());
    fs::write(&target, "something of mine").unwrap();
    let exists = backup(dir.path(), &target, false).unwrap_err();
    assert!(matches!(exists, BackupError::Exists(_)), "{exists:?}");
    assert_eq!(fs::read_to_string(&target).unwrap(), "something of mine");
    backup(dir.path(), &target, true).unwrap();
    for own in ["taskwarden.db", "taskwarden.db-wal"] {
        let error = backup(dir.path(), &dir.path().join(own), true).unwrap_err();
        assert!(matches!(error, BackupError::OwnFile(_)), "{error:?}");
    }
    let nowhere = backup(dir.path(), &elsewhere.path().join("no/such/folder"), false).unwrap_err();
    assert!(matches!(nowhere, BackupError::Store(_)), "{nowhere:?}");
    // Nothing is left lying about.
    assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 1);
}

#[tokio::test]
async fn a_backup_of_a_damaged_store_is_none() {
    let dir = TempDir::new().unwrap();
    let store = Store::open(dir.path()).unwrap();
    store.write(done(1..=2000)).await.unwrap();
    drop(store);
    let path = dir.path().join(DATABASE);
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2 / 4096 * 4096;
    bytes[middle..middle + 4096].fill(0xa5);
    fs::write(&path, bytes).unwrap();
    let target = dir.path().join("copy.db");
    backup(dir.path(), &target, false).unwrap_err();
    assert!(!target.exists());
}
