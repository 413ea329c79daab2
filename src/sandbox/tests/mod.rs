//! Tests of the sandbox against what live servers were seen to do.

mod calls;
mod scenarios;
mod traps;

use std::time::Duration;

use jiff::Timestamp;

use super::*;

const BOTH: [Flavour; 2] = [Flavour::OpenList, Flavour::AList];

fn start() -> Timestamp {
    "2026-11-23T19:32:44.108910316Z".parse().unwrap()
}

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A model whose downloads have `workers` workers and `max_retry` retries by the server.
fn model_with(flavour: Flavour, workers: usize, max_retry: u32) -> Model {
    let settings = Settings::new(flavour).pool("offline_download", workers, max_retry);
    Model::new(settings, start(), 7)
}

fn download(name: &str) -> TaskScript {
    TaskScript::new("offline_download", format!("download http://h/{name} to (/dst)"))
        .bytes(100_000)
}

/// A call by the admin.
fn call(model: &mut Model, endpoint: Endpoint, ids: &[&String]) -> Answer {
    let ids: Vec<String> = ids.iter().map(|id| (*id).clone()).collect();
    model.call(&Viewer::admin(), "offline_download", endpoint, &ids, None)
}

fn listed(answer: Answer) -> Vec<String> {
    match answer {
        Answer::Tasks(tasks) => tasks.into_iter().map(|task| task.id).collect(),
        other => panic!("not a list: {other:?}"),
    }
}
