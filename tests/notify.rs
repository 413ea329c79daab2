//! Messages to people: the forms of the services, held by servers that speak as they do, and what the
//! daemon tells when.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail so")]

mod common;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use common::{Told, Turned, config, sandbox};
use serde_json::{Value, json};
use taskwarden::ambient::Clock;
use taskwarden::daemon::supervise::{Daemon, Options};
use taskwarden::daemon::telling;
use taskwarden::engine::message::Message;
use taskwarden::notify::{Courier, NotSent};
use taskwarden::rules::{Config, Source, load};
use taskwarden::sandbox::{Flavour, Sandbox, Settings, TaskScript};

/// A request as the service got it.
#[derive(Clone, Debug)]
struct Got {
    method: String,
    path: String,
    headers: BTreeMap<String, String>,
    body: String,
}

impl Got {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }
}

/// A service on this machine that answers as it is told to.
#[derive(Clone, Debug)]
struct Service {
    url: String,
    got: Arc<Mutex<Vec<Got>>>,
    answer: Arc<Mutex<(u16, String, Option<String>)>>,
}

impl Service {
    async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let service = Self {
            url: format!("http://{}", listener.local_addr().unwrap()),
            got: Arc::default(),
            answer: Arc::new(Mutex::new((200, "{}".to_owned(), None))),
        };
        let own = service.clone();
        let answer = move |method: Method, uri: Uri, headers: HeaderMap, body: Bytes| {
            let headers = headers.iter().map(|(name, value)| {
                (name.to_string(), value.to_str().unwrap_or_default().to_owned())
            });
            own.got.lock().unwrap().push(Got {
                method: method.to_string(),
                path: uri.to_string(),
                headers: headers.collect(),
                body: String::from_utf8(body.to_vec()).unwrap(),
            });
            let (status, body, wait) = own.answer.lock().unwrap().clone();
            let mut headers = HeaderMap::new();
            if let Some(wait) = wait {
                headers.insert("retry-after", wait.parse().unwrap());
            }
            std::future::ready((StatusCode::from_u16(status).unwrap(), headers, body))
        };
        tokio::spawn(async move {
            axum::serve(listener, Router::new().fallback(answer)).await.unwrap();
        });
        service
    }

    fn answers(&self, status: u16, body: &str) {
        *self.answer.lock().unwrap() = (status, body.to_owned(), None);
    }

    fn got(&self) -> Vec<Got> {
        self.got.lock().unwrap().clone()
    }
}

fn rules(target: &str) -> Config {
    let text = format!(
        "version: 1\nservers: [{{ name: home, url: 'http://home', token: t }}]\nnotify:\n  - {{ name: x, {target} }}\nrules: []\n"
    );
    let loaded = load(Source::new("rules.yaml", &text));
    let Some(config) = loaded.config else {
        panic!("{}", taskwarden::cli::findings::human(&loaded, false))
    };
    config
}

fn message() -> Message {
    Message {
        title: "home: `retry` gave up (2 times)".to_owned(),
        text: "- 电影 <b>&\n- b".to_owned(),
        bad: true,
    }
}

async fn send(target: &str) -> Result<String, NotSent> {
    let config = rules(target);
    let address = telling::address(&config.notify[0]).unwrap();
    Courier::new().unwrap().send(&address, &message()).await
}

/// Sends a message to a service that answers so, and gives back what it got.
async fn sent(target: impl Fn(&str) -> String, answer: &str) -> Got {
    let service = Service::start().await;
    service.answers(200, answer);
    send(&target(&service.url)).await.unwrap();
    let got = service.got();
    assert_eq!(got.len(), 1);
    got[0].clone()
}

#[tokio::test]
async fn ntfy_takes_json_at_its_root() {
    let got = sent(
        |url| format!("service: ntfy, url: '{url}/my-topic', token: tk_1"),
        r#"{"id":"a","event":"message"}"#,
    )
    .await;
    assert_eq!((got.method.as_str(), got.path.as_str()), ("POST", "/"));
    assert_eq!(got.headers["authorization"], "Bearer tk_1");
    assert_eq!(
        got.json(),
        json!({
            "topic": "my-topic", "title": message().title, "message": message().text,
            "priority": 4, "tags": ["warning"],
        })
    );
}

#[tokio::test]
async fn gotify_takes_the_key_of_an_application() {
    let target = |url: &str| format!("service: gotify, url: '{url}/base/', token: A1");
    let got = sent(target, r#"{"id":1}"#).await;
    assert_eq!((got.method.as_str(), got.path.as_str()), ("POST", "/base/message"));
    assert_eq!(got.headers["x-gotify-key"], "A1");
    assert_eq!(
        got.json(),
        json!({ "title": message().title, "message": message().text, "priority": 7 })
    );
}

#[tokio::test]
async fn bark_takes_the_device_in_the_path() {
    let target = |url: &str| format!("service: bark, url: '{url}/devicekey'");
    let got = sent(target, r#"{"code":200,"message":"success"}"#).await;
    assert_eq!(got.path, "/devicekey");
    let body = got.json();
    assert_eq!(body["title"], message().title);
    assert_eq!(body["body"], message().text);
    assert_eq!(body["level"], "timeSensitive");
}

#[tokio::test]
async fn serverchan_takes_markdown() {
    let target = |url: &str| format!("service: serverchan, url: '{url}', token: SCT1KEY");
    let got = sent(target, r#"{"code":0,"message":"","data":{}}"#).await;
    assert_eq!(got.path, "/SCT1KEY.send");
    assert_eq!(got.json()["desp"], "- 电影 <b>&\n\n- b");
    assert!(got.json()["title"].as_str().unwrap().chars().count() <= 32);
}

#[tokio::test]
async fn telegram_takes_a_chat_and_plain_text() {
    let target =
        |url: &str| format!("service: telegram, url: '{url}', token: '12:ab', to: '-100123'");
    let got = sent(target, r#"{"ok":true,"result":{}}"#).await;
    assert_eq!(got.path, "/bot12:ab/sendMessage");
    let body = got.json();
    assert_eq!(body["chat_id"], "-100123");
    assert_eq!(body["text"], format!("{}\n{}", message().title, message().text));
    assert!(body.get("parse_mode").is_none(), "names of tasks are no markup");
    assert_eq!(body["disable_notification"], false);
}

#[tokio::test]
async fn discord_pings_nobody() {
    let service = Service::start().await;
    service.answers(204, "");
    send(&format!("service: discord, url: '{}/api/webhooks/1/secretpart'", service.url))
        .await
        .unwrap();
    let got = &service.got()[0];
    assert_eq!(got.path, "/api/webhooks/1/secretpart");
    assert_eq!(got.json()["allowed_mentions"], json!({ "parse": [] }));
}

#[tokio::test]
async fn slack_gets_no_markup_out_of_names() {
    let got = sent(|url| format!("service: slack, url: '{url}/services/T/B/x'"), "ok").await;
    let text = got.json()["text"].as_str().unwrap().to_owned();
    assert!(text.contains("电影 &lt;b&gt;&amp;"), "{text}");
}

#[tokio::test]
async fn apprise_takes_a_sort() {
    let got = sent(|url| format!("service: apprise, url: '{url}/notify/key'"), "{}").await;
    assert_eq!(got.path, "/notify/key");
    assert_eq!(
        got.json(),
        json!({ "title": message().title, "body": message().text, "type": "warning", "format": "text" })
    );
}

#[tokio::test]
async fn a_webhook_takes_what_its_template_says() {
    let target = |url: &str| {
        format!(
            "service: webhook, url: '{url}/x?a=b', method: PUT, headers: {{ X-Key: k1 }}, \
             body: '{{\"msg\": {{{{ text | tojson }}}}, \"up\": {{% if bad %}}false{{% else %}}true{{% endif %}}}}'"
        )
    };
    let got = sent(target, "").await;
    assert_eq!((got.method.as_str(), got.path.as_str()), ("PUT", "/x?a=b"));
    assert_eq!(got.headers["x-key"], "k1");
    assert_eq!(got.headers["content-type"], "application/json");
    assert_eq!(got.json(), json!({ "msg": message().text, "up": false }));
    let got = sent(|url| format!("service: webhook, url: '{url}/'"), "").await;
    assert_eq!(
        got.json(),
        json!({ "title": message().title, "text": message().text, "bad": true })
    );
}

#[tokio::test]
async fn each_service_refuses_in_its_own_way_and_no_key_is_told() {
    for (target, status, answer, why) in [
        (
            "service: ntfy, url: 'URL/secret-topic'",
            403,
            r#"{"code":40301,"error":"forbidden"}"#,
            "403: forbidden",
        ),
        (
            "service: gotify, url: 'URL', token: secret-key",
            401,
            r#"{"error":"Unauthorized","errorDescription":"you need a valid token: secret-key"}"#,
            "401: Unauthorized",
        ),
        (
            "service: bark, url: 'URL/secret-key'",
            200,
            r#"{"code":400,"message":"no device secret-key"}"#,
            "200: no device ***",
        ),
        (
            "service: serverchan, url: 'URL', token: secret-key",
            200,
            r#"{"code":40001,"message":"bad pushtoken"}"#,
            "200: bad pushtoken",
        ),
        (
            "service: telegram, url: 'URL', token: 'secret-key', to: '1'",
            200,
            r#"{"ok":false,"description":"chat not found"}"#,
            "200: chat not found",
        ),
        (
            "service: discord, url: 'URL/secret-key'",
            404,
            r#"{"message":"Unknown Webhook","code":10015}"#,
            "404: Unknown Webhook",
        ),
        ("service: slack, url: 'URL/secret-key'", 404, "no_service", "404: no_service"),
        (
            "service: apprise, url: 'URL/notify/secret-key'",
            424,
            r#"{"error":"one or more failed"}"#,
            "424: one or more failed",
        ),
        (
            "service: webhook, url: 'URL/secret-key'",
            502,
            "<html>secret-key</html>",
            "the service answered 502",
        ),
        ("service: webhook, url: 'URL/secret-key'", 302, "", "the service answered 302"),
    ] {
        let service = Service::start().await;
        service.answers(status, answer);
        let error = send(&target.replace("URL", &service.url)).await.unwrap_err();
        assert!(error.why.ends_with(why), "{target}: {error}");
        assert!(!error.why.contains("secret"), "{target}: {error}");
    }
    // Nor when nobody is there.
    let error = send("service: slack, url: 'http://127.0.0.1:9/secret-key'").await.unwrap_err();
    assert!(!error.why.contains("secret") && !error.why.is_empty(), "{error}");
}

#[tokio::test]
async fn a_service_says_how_long_it_wants_to_be_left_alone() {
    let service = Service::start().await;
    *service.answer.lock().unwrap() = (429, "{}".to_owned(), Some("17".to_owned()));
    let target = format!("service: discord, url: '{}/x'", service.url);
    assert_eq!(send(&target).await.unwrap_err().wait, Some(Duration::from_secs(17)));
    service.answers(429, r#"{"ok":false,"parameters":{"retry_after":35}}"#);
    let target = format!("service: telegram, url: '{}', token: t, to: '1'", service.url);
    assert_eq!(send(&target).await.unwrap_err().wait, Some(Duration::from_secs(35)));
}

#[test]
fn every_service_and_event_has_its_example_in_the_documentation() {
    let page = include_str!("../docs/notifications.md");
    let mut services = std::collections::BTreeSet::new();
    for example in page.split("```yaml\n").skip(1) {
        let example = example.split("```").next().unwrap();
        let text = format!(
            "version: 1\nservers: [{{ name: home, url: 'http://home', token: t }}]\nrules:\n  - {{ name: r, match: {{ kind: copy }}, action: notify }}\n{example}"
        );
        let loaded = load(Source::new("rules.yaml", &text));
        assert!(loaded.findings.is_empty(), "{}", taskwarden::cli::findings::human(&loaded, false));
        services.extend(loaded.config.unwrap().notify.iter().map(|target| target.service.as_str()));
    }
    for service in taskwarden::engine::message::Service::ALL {
        assert!(services.contains(service.as_str()), "{}", service.as_str());
    }
    for topic in taskwarden::engine::message::Topic::ALL {
        assert!(page.contains(&format!("| `{}` |", topic.as_str())), "{}", topic.as_str());
    }
}

/// The daemon at work, in a process of its own time.
struct Running {
    stop: tokio::sync::watch::Sender<bool>,
    task: tokio::task::JoinHandle<()>,
    told: Told,
}

impl Running {
    fn start(config: Config, dir: &Path, turned: &Turned) -> Self {
        let told = Told::default();
        let clock: Clock = turned.clock();
        let options = Options {
            state_dir: dir.to_owned(),
            dry_run: false,
            clock,
            sink: told.sink(),
            seed: 0,
            speed: 100.0,
        };
        let daemon = Daemon::new(config, options).unwrap();
        let stop = daemon.stopper();
        let task = tokio::task::spawn_local(async move { daemon.run(None).await.unwrap() });
        Self { stop, task, told }
    }

    async fn stop(self) -> Told {
        self.stop.send_replace(true);
        self.task.await.unwrap();
        self.told
    }
}

/// Turns the clock until something holds.
async fn until(turned: &Turned, what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..1500 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
        turned.turn(Duration::from_secs(2));
    }
    panic!("never: {what}");
}

async fn failing(turned: &Turned, count: usize) -> Sandbox {
    let settings = Settings::new(Flavour::OpenList).pool("offline_download", count, 0);
    let sandbox = sandbox(settings, turned).await;
    sandbox.with_model(|model| {
        for n in 0..count {
            let name = format!("download http://x.example/{n}.bin to (/d)");
            model.add(TaskScript::new("offline_download", name).fails(
                99,
                Duration::from_secs(1),
                "EOF",
            ));
        }
    });
    sandbox
}

const TELL: &str = r"
rules:
  - name: tell
    match: { state: failed }
    action: notify
";

#[tokio::test]
async fn a_thousand_failures_are_one_message_and_a_dead_target_holds_nothing_up() {
    tokio::task::LocalSet::new().run_until(storm()).await;
}

async fn storm() {
    let turned = Turned::new();
    let sandbox = failing(&turned, 1000).await;
    turned.turn(Duration::from_secs(5));
    let service = Service::start().await;
    let state = tempfile::tempdir().unwrap();
    let notify = format!(
        "notify:\n  - {{ name: dead, service: slack, url: 'http://127.0.0.1:9/x' }}\n  - {{ name: hook, service: webhook, url: '{}/' }}\n",
        service.url
    );
    let config = config(&sandbox, "", &format!("{notify}{TELL}"));
    let running = Running::start(config, state.path(), &turned);
    until(&turned, "a message", || !service.got().is_empty()).await;
    // Time for more, if there were more to tell.
    for _ in 0..100 {
        tokio::time::sleep(Duration::from_millis(10)).await;
        turned.turn(Duration::from_secs(10));
    }
    let told = running.stop().await;
    let got = service.got();
    assert_eq!(got.len(), 1, "{got:#?}");
    assert_eq!(got[0].json()["title"], "home: `tell` (1000 times)");
    let text = told.text();
    assert_eq!(text.matches("dead cannot be told").count(), 1, "{text}");
    assert!(text.contains("told hook"), "{text}");
}

#[tokio::test]
async fn what_could_not_be_told_is_told_after_a_restart() {
    tokio::task::LocalSet::new().run_until(restart()).await;
}

async fn restart() {
    let turned = Turned::new();
    let sandbox = failing(&turned, 3).await;
    turned.turn(Duration::from_secs(5));
    let service = Service::start().await;
    service.answers(500, "");
    let state = tempfile::tempdir().unwrap();
    let notify =
        format!("notify:\n  - {{ name: hook, service: webhook, url: '{}/' }}\n", service.url);
    let config = config(&sandbox, "", &format!("{notify}{TELL}"));
    let running = Running::start(config.clone(), state.path(), &turned);
    until(&turned, "a try", || !service.got().is_empty()).await;
    running.stop().await;
    service.answers(200, "");
    service.got.lock().unwrap().clear();
    let running = Running::start(config, state.path(), &turned);
    until(&turned, "a message", || !service.got().is_empty()).await;
    running.stop().await;
    let got = service.got();
    assert_eq!(got[0].json()["title"], "home: `tell` (3 times)");
    assert!(got[0].json()["text"].as_str().unwrap().contains("http://x.example/"), "{got:?}");
}

#[tokio::test]
async fn a_server_that_goes_and_comes_back_is_told_and_so_is_the_day() {
    tokio::task::LocalSet::new().run_until(away_and_back()).await;
}

async fn away_and_back() {
    let turned = Turned::new();
    let sandbox = failing(&turned, 0).await;
    let service = Service::start().await;
    let state = tempfile::tempdir().unwrap();
    let notify = format!(
        "notify:\n  - {{ name: hook, service: webhook, url: '{}/', interval: 0s, digest: '*/30 * * * *' }}\n",
        service.url
    );
    let mut config = config(&sandbox, "", &format!("{notify}{TELL}"));
    config.servers[0].timeout = Duration::from_millis(300);
    let running = Running::start(config, state.path(), &turned);
    let titles = || -> Vec<String> {
        let got = service.got();
        got.iter().map(|got| got.json()["title"].as_str().unwrap().to_owned()).collect()
    };
    let url = sandbox.url();
    sandbox.with_model(|model| {
        model.faults().plan(taskwarden::sandbox::FaultPlan {
            rate: 1.0,
            faults: vec![taskwarden::sandbox::Fault::Http502Page],
            only: None,
            phase: None,
            seed: 1,
        });
    });
    let has = |word: &str| titles().iter().any(|title| title.contains(word));
    until(&turned, "it is away", || has("home does not answer")).await;
    sandbox.with_model(|model| {
        model.faults().plan(taskwarden::sandbox::FaultPlan {
            rate: 0.0,
            faults: Vec::new(),
            only: None,
            phase: None,
            seed: 1,
        });
    });
    until(&turned, "it is back", || has("home answers again")).await;
    until(&turned, "a digest", || has("0 actions and 0 give-ups in")).await;
    running.stop().await;
    let all: String = service.got().iter().map(|got| got.body.clone()).collect();
    assert!(!all.contains(sandbox.token()), "{url}");
}
