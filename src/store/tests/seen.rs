//! What the lists showed.

use std::time::Duration;

use super::*;
use crate::engine::audit::{Occasion, Trouble};
use crate::engine::decide::{GiveUp, Planned, Target};
use crate::engine::name::TaskName;
use crate::engine::observe::{After, Look, Observation, QueueSample};
use crate::engine::task::{Common, Flavour, Task};

fn listing(id: &str, state: State) -> Task {
    Task {
        id: id.into(),
        name: TaskName::new(&format!("upload {id}.bin to [/d](/x)")),
        progress: 12.5,
        started: Some(Timestamp::new(1_786_000_000, 123_456_789).unwrap().into()),
        ended: None,
        total_bytes: 5,
        common: Common {
            creator: "ann".into(),
            roles: [2].into(),
            state,
            status: "uploading".into(),
            error: if state == State::Failed { "too many requests".into() } else { "".into() },
        }
        .into(),
    }
}

fn look(second: i64, seen: Vec<Observation>) -> Look {
    Look {
        server: home(),
        time: at(second),
        after: After::Look(at(second - 1)),
        flavour: Flavour::OpenList,
        skew: SignedDuration::from_millis(2500),
        unread: [Kind::Move].into(),
        absent: [Kind::Move].into(),
        seen,
    }
}

fn seen(id: &str, state: Option<State>) -> Observation {
    let task = state.map(|state| listing(id, state));
    Observation { kind: Kind::Upload, id: id.into(), task: task.map(Into::into), still_since: None }
}

fn batch(looks: Vec<Look>) -> WriteBatch {
    WriteBatch { looks, ..WriteBatch::new(home()) }
}

fn looks(dir: &TempDir, filter: &LookFilter) -> Vec<Look> {
    let mut looks = Vec::new();
    let reader = Reader::open(dir.path()).unwrap();
    let take = |look| {
        looks.push(look);
        ControlFlow::Continue(())
    };
    reader.looks_each(filter, take).unwrap();
    looks
}

fn count(dir: &TempDir, table: &str) -> i64 {
    let connection = Connection::open(dir.path().join(DATABASE)).unwrap();
    connection.query_row(&format!("SELECT count(*) FROM {table}"), (), |row| row.get(0)).unwrap()
}

#[tokio::test]
async fn what_was_seen_comes_back_as_it_was() {
    let dir = TempDir::new().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let still = Observation { still_since: Some(at(3)), ..seen("b", Some(State::Running)) };
    let written = [
        Look {
            after: After::Start,
            ..look(1, vec![seen("a", Some(State::Running)), still.clone()])
        },
        Look { after: After::Away(at(1)), ..look(2, vec![]) },
        look(3, vec![seen("a", Some(State::Failed))]),
        look(4, vec![seen("a", None)]),
    ];
    let troubles = vec![(IntentId(3), Trouble::NotDone), (IntentId(4), Trouble::Lost)];
    store
        .write(WriteBatch { troubles: troubles.clone(), ..batch(written[..2].to_vec()) })
        .await
        .unwrap();
    store.write(batch(written[2..].to_vec())).await.unwrap();
    assert_eq!(looks(&dir, &LookFilter::default()), written);
    let of_a = LookFilter { task: Some("a".into()), since: Some(at(3)), ..LookFilter::default() };
    assert_eq!(looks(&dir, &of_a), written[2..]);
    let others = LookFilter { kind: Some(Kind::Copy), ..LookFilter::default() };
    assert_eq!(looks(&dir, &others), []);
    let reader = store.reader().unwrap();
    assert_eq!(reader.last_seen(&home(), &BTreeMap::new()).unwrap(), [still]);
    assert_eq!(reader.seen_servers().unwrap(), [home()]);
    assert_eq!(reader.troubles().unwrap(), troubles.into_iter().collect());
}

#[tokio::test]
async fn old_looks_go_and_how_a_listed_task_is_stays() {
    let dir = TempDir::new().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let mut written = vec![look(0, vec![seen("stays", Some(State::Running))])];
    for second in 1..=1000 {
        let id = format!("t{second}");
        written.push(look(2 * second, vec![seen(&id, Some(State::Failed))]));
        written.push(look(2 * second + 1, vec![seen(&id, None)]));
    }
    written.push(look(5000, vec![seen("new", Some(State::Failed))]));
    store.write(batch(written.clone())).await.unwrap();
    assert_eq!((count(&dir, "seen_task"), count(&dir, "seen_text")), (1002, 2));
    let keep = Keep { seen_since: Some(at(4000)), ..Keep::default() };
    assert!(store.prune(keep).await.unwrap().rows >= 3000);
    let left = looks(&dir, &LookFilter::default());
    assert_eq!(left, [written[0].clone(), written[2001].clone()]);
    // Texts and tasks that nothing speaks of go with them.
    assert_eq!((count(&dir, "seen_task"), count(&dir, "seen_text")), (2, 2));
    assert_eq!(store.prune(keep).await.unwrap(), Pruned::default());
    // What is seen of such a task next takes the place of what was kept.
    store.write(batch(vec![look(6000, vec![seen("stays", Some(State::Failed))])])).await.unwrap();
    let left = looks(&dir, &LookFilter::default());
    assert_eq!(left.iter().map(|look| look.seen.len()).collect::<Vec<_>>(), [0, 1, 1]);
    assert_eq!(store.prune(keep).await.unwrap().rows, 1);
    let of_it = LookFilter { task: Some("stays".into()), ..LookFilter::default() };
    assert_eq!(looks(&dir, &of_it)[0].time, at(6000));
    store.write(batch(vec![look(6001, vec![seen("stays", None)])])).await.unwrap();
    let later = Keep { seen_since: Some(at(7000)), ..Keep::default() };
    assert!(store.prune(later).await.unwrap().rows >= 3);
    assert_eq!(looks(&dir, &of_it), []);
    assert_eq!((count(&dir, "seen_task"), count(&dir, "seen_text")), (1, 2));
    // For room it is the same, and audit rows give way after them.
    store.write(rows(vec![row(1), event(2), event(3)])).await.unwrap();
    store.prune(Keep { size: Some(1), ..Keep::default() }).await.unwrap();
    assert_eq!(looks(&dir, &LookFilter::default()).len(), 2);
}

#[tokio::test]
async fn to_write_down_what_was_seen_takes_as_long_however_much_was_before() {
    let dir = TempDir::new().unwrap();
    drop(Store::open(dir.path()).unwrap());
    let connection = Connection::open(dir.path().join(DATABASE)).unwrap();
    let sql = format!("EXPLAIN QUERY PLAN {}", observe::REPLACE_KEPT);
    let mut plan = connection.prepare(&sql).unwrap();
    let steps = plan.query_map((1, 2), |row| row.get::<_, String>(3)).unwrap();
    let steps: Vec<String> = steps.collect::<Result<_, _>>().unwrap();
    assert!(steps.iter().all(|step| !step.contains("SCAN")), "{steps:?}");
}

#[tokio::test]
async fn a_reading_ends_when_its_time_is_over() {
    let dir = TempDir::new().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let written = (0..3000).map(|second| look(second, vec![seen("a", Some(State::Failed))]));
    store.write(batch(written.collect())).await.unwrap();
    let read = |within: Duration| {
        let mut count = 0;
        let reader = store.reader().unwrap().within(within).unwrap();
        let ended = reader.looks_each(&LookFilter::default(), |_| {
            count += 1;
            ControlFlow::Continue(())
        });
        (ended, count)
    };
    let (ended, count) = read(Duration::ZERO);
    assert!(matches!(ended, Err(StoreError::TooLong { .. })), "{ended:?}");
    assert!(count < 3000, "{count}");
    let (ended, count) = read(Duration::from_secs(3600));
    assert!(ended.is_ok(), "{ended:?}");
    assert_eq!(count, 3000);
}

#[test]
fn no_part_of_a_batch_is_taken_for_nothing() {
    let empty = || WriteBatch::new(home());
    assert!(empty().is_empty());
    let occasion = Occasion { time: at(1), server: home(), rules_revision: String::new() };
    let shown = Shown { occasion, give_ups: vec![], actions: Arc::default(), rows: vec![] };
    for part in [
        WriteBatch { memory: Some(memory(changes())), ..empty() },
        rows(vec![row(1)]),
        WriteBatch { shown: vec![shown], ..empty() },
        outcome(1, Outcome::Effective, ""),
        WriteBatch { server_state: Some(json!({})), ..empty() },
        batch(vec![look(1, vec![])]),
        WriteBatch { queue: vec![QueueSample { time: at(1), tasks: None }], ..empty() },
        WriteBatch { troubles: vec![(IntentId(1), Trouble::Lost)], ..empty() },
    ] {
        assert!(!part.is_empty(), "{part:?}");
    }
}

#[tokio::test]
async fn what_people_are_told_and_shown_has_a_row_each() {
    let dir = TempDir::new().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let target = |id: &str| Target {
        task: Arc::new(listing(id, State::Failed)),
        subject: Subject::Task(Kind::Upload, id.into()),
        attempt: 1,
        error: "too many requests".into(),
        class: Some(Class::Throttled),
    };
    let planned = |id: &str, action, mode| Planned {
        rule: "r".into(),
        action,
        mode,
        kind: Kind::Upload,
        task: Some(target(id)),
        reason: "failed for 1h".to_owned(),
        fresh: true,
        farewell: false,
    };
    let actions = Arc::new(vec![
        planned("a", Action::Notify, Mode::Live),
        planned("b", Action::RetrySome, Mode::Live),
        planned("c", Action::RetrySome, Mode::DryRun),
    ]);
    let occasion = Occasion { time: at(1), server: home(), rules_revision: "abc".to_owned() };
    let rows = vec![(IntentId(3), 0), (IntentId(5), 2)];
    let (rule, kind, why) = ("r".into(), Kind::Upload, "in vain".to_owned());
    let give_up = GiveUp { rule, kind, task: target("d"), why, notify: true };
    let shown = vec![Shown { occasion, give_ups: vec![(IntentId(2), give_up)], actions, rows }];
    // An outcome of the same batch finds its row.
    let outcomes = vec![(IntentId(5), Outcome::SkippedChanged, "in vain".to_owned())];
    let batch = WriteBatch { shown, outcomes, ..WriteBatch::new(home()) };
    assert!(!batch.is_empty());
    store.write(batch).await.unwrap();
    let told: Vec<String> = audit(dir.path())
        .iter()
        .map(|row| {
            let (name, error) = (row.task_name.as_deref().unwrap(), row.error.as_deref().unwrap());
            let id = row.task_id.as_ref().unwrap();
            format!("{} {} {id} {:?} {} {name}: {error}", row.id, row.action, row.mode, row.outcome)
        })
        .collect();
    let expected = [
        "2 give_up d Live effective upload d.bin to [/d](/x): too many requests",
        "3 notify a Live effective upload a.bin to [/d](/x): too many requests",
        "5 retry_some c DryRun skipped_changed upload c.bin to [/d](/x): too many requests",
    ];
    assert_eq!(told, expected);
}
