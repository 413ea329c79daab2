//! Against a real server, when `TASKWARDEN_LIVE_URL` and `TASKWARDEN_LIVE_TOKEN` are set.
//!
//! The test makes downloads of its own, told by a mark in their address that no other task has; the
//! rules match that mark alone; and it removes them at the end, however it ends.
//! `TASKWARDEN_LIVE_PATH` names a folder on a mount (`/` unless set); nothing is ever written there,
//! since the downloads fail before they have a byte.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::format_push_string,
    reason = "tests may unwrap"
)]

mod common;

use std::io::Write as _;
use std::time::Duration;

use common::process::{Home, eventually_or};
use reqwest::{Method, Response};
use serde_json::{Value, json};
use taskwarden::ambient::{http_client_builder, random_u64};
use taskwarden::engine::audit::Outcome;

const KIND: &str = "offline_download";

/// A server, and the mark of our own tasks there.
#[derive(Clone)]
struct Live {
    http: reqwest::Client,
    url: String,
    token: String,
    path: String,
    mark: String,
}

impl Live {
    /// From the environment; `None` when it does not say where.
    fn from_env() -> Option<Self> {
        let set = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        Some(Self {
            http: http_client_builder().timeout(Duration::from_secs(30)).build().unwrap(),
            url: set("TASKWARDEN_LIVE_URL")?.trim_end_matches('/').to_owned(),
            token: set("TASKWARDEN_LIVE_TOKEN")?,
            path: set("TASKWARDEN_LIVE_PATH").unwrap_or_else(|| "/".to_owned()),
            mark: format!("taskwarden-live-{:016x}", random_u64()),
        })
    }

    async fn call(&self, method: Method, path: &str, body: Option<Value>) -> Value {
        let mut request = self.http.request(method, format!("{}/api/{path}", self.url));
        request = request.header("Authorization", &self.token);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer: Value = request
            .send()
            .await
            .and_then(Response::error_for_status)
            .unwrap()
            .json()
            .await
            .unwrap();
        assert_eq!(answer["code"], 200, "{path}: {answer}");
        answer["data"].clone()
    }

    /// Makes downloads that are refused at once: nobody listens on port 1.
    async fn add(&self, count: usize) {
        let urls: Vec<String> =
            (0..count).map(|n| format!("http://127.0.0.1:1/{}/{n}", self.mark)).collect();
        let body = json!({
            "urls": urls,
            "path": self.path,
            "tool": "SimpleHttp",
            "delete_policy": "delete_on_upload_succeed",
        });
        self.call(Method::POST, "fs/add_offline_download", Some(body)).await;
    }

    /// Our own tasks, as `(id, state)`.
    async fn ours(&self) -> Vec<(String, i64)> {
        let mut ours = Vec::new();
        for list in ["undone", "done"] {
            let tasks = self.call(Method::GET, &format!("task/{KIND}/{list}"), None).await;
            for task in tasks.as_array().into_iter().flatten() {
                if task["name"].as_str().is_some_and(|name| name.contains(&self.mark)) {
                    let id = task["id"].as_str().unwrap().to_owned();
                    ours.push((id, task["state"].as_i64().unwrap_or(-1)));
                }
            }
        }
        ours
    }

    /// Removes our tasks, each once it has ended: one that is deleted before goes on unseen. They
    /// fail by themselves, so it is only after a while that they are canceled.
    async fn clean_up(&self) {
        for round in 0..60 {
            let ours = self.ours().await;
            if ours.is_empty() {
                return;
            }
            for (id, state) in ours {
                let verb = match state {
                    2 | 4 | 7 => "delete",
                    0 | 1 | 5 | 8 | 9 if round == 20 => "cancel",
                    _ => continue,
                };
                self.call(Method::POST, &format!("task/{KIND}/{verb}?tid={id}"), None).await;
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        panic!("tasks with `{}` in their names are left on the server", self.mark);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_server_is_looked_after() {
    let Some(live) = Live::from_env() else {
        // Not by `eprintln`, which the test harness keeps to itself.
        let why = "skipped: TASKWARDEN_LIVE_URL and TASKWARDEN_LIVE_TOKEN are not set";
        let _ = writeln!(std::io::stderr(), "{why}");
        return;
    };
    // In a task of its own, so that a failure comes back as a value and the clean-up is reached.
    let outcome = tokio::spawn(retries_and_gives_up(live.clone())).await;
    live.clean_up().await;
    if let Err(error) = outcome {
        std::panic::resume_unwind(error.into_panic());
    }
}

async fn retries_and_gives_up(live: Live) {
    live.add(2).await;
    let home = Home::new();
    home.write_rules(&format!(
        "version: 1
servers:
  - {{ name: live, url: '{}', token: {{ env: TASKWARDEN_LIVE_TOKEN }}, poll: 1s }}
rules:
  - name: our own
    match: {{ kind: {KIND}, state: failed, name: '{}', error: refused }}
    action: retry_some
    max_attempts: 2
    backoff: {{ initial: 1s, factor: 1, jitter: 0 }}
",
        live.url, live.mark
    ));
    let daemon = home.daemon(&["run"]);
    let gave_up = || home.audit().iter().filter(|row| row.action == "give_up").count() == 2;
    eventually_or("both given up", gave_up, || daemon.said()).await;
    daemon.terminate().await;
    let rows = home.audit();
    let retries: Vec<_> = rows.iter().filter(|row| row.action == "retry_some").collect();
    assert_eq!(retries.len(), 4, "{rows:#?}");
    for row in &rows {
        assert!(row.task_name.as_ref().is_some_and(|name| name.contains(&live.mark)), "{row:?}");
        assert_eq!(row.outcome, Outcome::Effective, "{row:?}");
    }
}
