//! Looking the whole database through.

use std::time::Duration;

use super::*;

const LONG: Duration = Duration::from_secs(60);

async fn filled() -> (TempDir, PathBuf) {
    let (dir, path) = used_folder();
    let store = Store::open(dir.path()).unwrap();
    let rows = (1..500).map(|id| AuditRow { outcome: Outcome::Effective, ..row(id) }).collect();
    store.write(WriteBatch { memory: Some(memory(changes())), ..super::rows(rows) }).await.unwrap();
    (dir, path)
}

fn check_up(dir: &TempDir, budget: Duration) -> Checkup {
    Reader::open(dir.path()).unwrap().check_up(budget).unwrap()
}

#[tokio::test]
async fn a_sound_one_is_read_to_its_end() {
    let (dir, _) = filled().await;
    let found = check_up(&dir, LONG);
    assert_eq!(found.layout as usize, MIGRATIONS.len());
    assert_eq!(found.oldest_audit, Some(at(1)));
    assert!(found.rows > 499 && found.used > 50_000, "{found:?}");
    assert!(found.damage.is_none() && found.unreadable.is_empty() && !found.unfinished);
}

#[tokio::test]
async fn no_time_is_no_verdict() {
    let (dir, _) = filled().await;
    let found = check_up(&dir, Duration::ZERO);
    assert!(found.unfinished && found.damage.is_none() && found.unreadable.is_empty(), "{found:?}");
}

#[tokio::test]
async fn pages_that_were_overwritten_are_damage() {
    let (dir, path) = filled().await;
    let mut bytes = fs::read(&path).unwrap();
    let page = bytes.len() * 3 / 4 / 4096 * 4096;
    bytes[page..page + 4096].fill(0xa5);
    fs::write(&path, bytes).unwrap();
    let found = check_up(&dir, LONG);
    assert!(found.damage.is_some() && !found.unfinished, "{found:?}");
}

#[tokio::test]
async fn each_row_that_cannot_be_read_is_counted_and_the_first_are_named() {
    let (dir, path) = filled().await;
    let connection = Connection::open(path).unwrap();
    connection
        .execute("UPDATE audit SET outcome = 'heard of' WHERE id BETWEEN 11 AND 30", ())
        .unwrap();
    connection.execute("UPDATE rule SET json = '{'", ()).unwrap();
    let found = check_up(&dir, LONG);
    assert_eq!(found.unreadable_count, 20 + changes().rules.len() as u64);
    assert!(found.damage.is_none() && !found.unfinished, "{found:?}");
    let named: Vec<String> = found.unreadable.iter().map(ToString::to_string).collect();
    assert_eq!(named.len(), 5);
    assert!(named[0].contains("of table `rule`"), "{named:?}");
    assert!(named.last().unwrap().contains("of table `audit`"), "{named:?}");
}
