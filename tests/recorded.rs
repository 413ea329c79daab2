//! The client against the recorded answers of two real servers, served as they came.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail so")]

use std::collections::HashMap;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State as Served;
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use secrecy::SecretString;
use serde_json::Value;
use taskwarden::engine::moment::Moment;
use taskwarden::engine::task::{Flavour, Kind, State, TaskId};
use taskwarden::upstream::{
    Auth, Base, Batch, Client, ClientSettings, Error, KindVerb, RoleForm, SecretSource, Verb,
};

const OPENLIST: &str = include_str!("fixtures/recorded-openlist-4.json");
const ALIST: &str = include_str!("fixtures/recorded-alist-3.62.json");

/// One recorded pair.
struct Pair {
    label: String,
    method: String,
    path: String,
    authorization: String,
    body: Value,
    status: u16,
    content_type: String,
    text: String,
}

fn pairs(recorded: &str) -> Vec<Pair> {
    let pairs: Vec<Value> = serde_json::from_str(recorded).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    pairs
        .iter()
        .map(|pair| {
            let (request, response) = (&pair["request"], &pair["response"]);
            Pair {
                label: text(&pair["label"]),
                method: text(&request["method"]),
                path: text(&request["path"]),
                authorization: text(&request["authorization"]),
                body: request["body"].clone(),
                status: u16::try_from(response["http_status"].as_u64().unwrap()).unwrap(),
                content_type: text(&response["content_type"]),
                text: response["text"]
                    .as_str()
                    .map_or_else(|| response["json"].to_string(), str::to_owned),
            }
        })
        .collect()
}

/// What a request is known by.
type Key = (String, String, String);

/// Status, content type and body by request.
type Known = HashMap<Key, (u16, String, String)>;

fn key(method: &str, path: &str, body: &Value) -> Key {
    (
        method.to_owned(),
        path.to_owned(),
        if body.is_null() { String::new() } else { body.to_string() },
    )
}

/// Serves every recorded pair that was asked for with the token; the web page for all else.
async fn serve(recorded: &str) -> String {
    let known: Known = pairs(recorded)
        .into_iter()
        .filter(|pair| matches!(pair.authorization.as_str(), "token" | "none"))
        .filter(|pair| pair.label != "done-no-token")
        .map(|pair| {
            let key = key(&pair.method, &pair.path, &pair.body);
            (key, (pair.status, pair.content_type, pair.text))
        })
        .collect();
    let app = Router::new().fallback(answer).with_state(Arc::new(known));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    url
}

async fn answer(
    Served(known): Served<Arc<Known>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    if uri.path().contains("/task/")
        && headers.get(header::AUTHORIZATION).is_none_or(|value| value != "token")
    {
        let body = r#"{"code":401,"message":"token is invalidated","data":null}"#;
        return ([(header::CONTENT_TYPE, "application/json; charset=utf-8")], body).into_response();
    }
    let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let path = uri.path_and_query().unwrap().as_str();
    match known.get(&key(method.as_str(), path, &body)) {
        Some((status, kind, text)) => (
            StatusCode::from_u16(*status).unwrap(),
            [(header::CONTENT_TYPE, kind.clone())],
            text.clone(),
        )
            .into_response(),
        None => ([(header::CONTENT_TYPE, "text/html")], "<html>page</html>").into_response(),
    }
}

fn client(url: &str, token: &str) -> Client {
    let auth = Auth::Token(SecretSource::Literal(SecretString::from(token)));
    Client::new(ClientSettings::new("home".into(), url, auth)).unwrap()
}

#[tokio::test]
async fn every_recorded_list_is_read_whole() {
    for (recorded, flavour, form, absent) in [
        (OPENLIST, Flavour::OpenList, RoleForm::Number, Kind::S3Transition),
        (ALIST, Flavour::AList, RoleForm::Array, Kind::Move),
    ] {
        let client = client(&serve(recorded).await, "token");
        let found = client.discover(&Kind::KNOWN).await.unwrap();
        assert_eq!((found.flavour, found.base), (flavour, Base::Modern));
        assert_eq!(found.kinds.len(), 7);
        assert!(found.version.unwrap().starts_with("dev"));
        assert!(matches!(client.list(&absent).await, Err(Error::KindAbsent { .. })));
        for kind in &found.kinds {
            let list = client.list(kind).await.unwrap();
            let expected: Vec<Value> = pairs(recorded)
                .into_iter()
                .filter(|pair| {
                    let lists = format!("/api/task/{kind}/");
                    pair.path == lists.clone() + "undone"
                        || pair.path == lists + "done" && served(recorded, pair)
                })
                .filter_map(|pair| {
                    serde_json::from_str::<Value>(&pair.text).unwrap()["data"].as_array().cloned()
                })
                .flatten()
                .collect();
            let ids: std::collections::BTreeSet<&str> =
                expected.iter().map(|task| task["id"].as_str().unwrap()).collect();
            assert_eq!(list.tasks.len(), ids.len(), "{kind}");
            if !list.tasks.is_empty() {
                assert_eq!(list.role_form, form, "{kind}");
            }
            for task in &list.tasks {
                let wire = expected.iter().rfind(|wire| wire["id"] == task.id.as_str()).unwrap();
                assert_eq!(task.state, State::from_number(wire["state"].as_i64().unwrap()));
                assert_eq!(&*task.creator, wire["creator"].as_str().unwrap());
                assert_eq!(*task.roles, [2]);
                assert!((task.progress - wire["progress"].as_f64().unwrap()).abs() < 1e-9);
                assert_eq!(task.total_bytes, wire["total_bytes"].as_u64().unwrap());
                for (time, wire) in
                    [(task.started, &wire["start_time"]), (task.ended, &wire["end_time"])]
                {
                    let wire = wire.as_str().map(|wire| wire.parse().unwrap());
                    assert_eq!(time.map(Moment::get), wire);
                }
                assert_eq!(task.error.is_empty(), wire["error"] == "");
            }
        }
    }
}

/// Of pairs with the same request, the last is the one that is served.
fn served(recorded: &str, pair: &Pair) -> bool {
    pair.authorization == "token"
        && pairs(recorded)
            .iter()
            .rfind(|other| other.path == pair.path && other.authorization == "token")
            .is_some_and(|last| last.label == pair.label)
}

#[tokio::test]
async fn every_recorded_answer_to_an_action_is_understood() {
    for recorded in [OPENLIST, ALIST] {
        let client = client(&serve(recorded).await, "token");
        client.discover(&Kind::KNOWN).await.unwrap();
        let mut understood = 0;
        for pair in pairs(recorded).iter().filter(|pair| pair.authorization == "token") {
            let mut parts = pair.path.trim_start_matches("/api/task/").split(['/', '?']);
            let (kind, endpoint) = (Kind::from(parts.next().unwrap()), parts.next().unwrap());
            let id = parts.next().and_then(|query| query.strip_prefix("tid=")).map(TaskId::from);
            if pair.method == "GET" {
                continue;
            }
            understood += 1;
            let verb = |name: &str| match name {
                "retry" => Verb::Retry,
                "cancel" => Verb::Cancel,
                _ => Verb::Delete,
            };
            let missing = id.as_ref().is_some_and(|id| id.as_str() == "nope");
            match (endpoint, id) {
                ("info", Some(id)) => {
                    let task = client.info(&kind, &id).await.unwrap();
                    assert_eq!(task.is_none(), missing, "{}", pair.label);
                }
                ("clear_done", _) => client.act_kind(&kind, KindVerb::ClearDone).await.unwrap(),
                ("clear_succeeded", _) => {
                    client.act_kind(&kind, KindVerb::ClearSucceeded).await.unwrap();
                }
                ("retry_failed", _) => client.act_kind(&kind, KindVerb::RetryFailed).await.unwrap(),
                (name, Some(id)) => match client.act_one(&kind, verb(name), &id).await {
                    Ok(()) => assert!(!missing, "{}", pair.label),
                    Err(Error::NotFound { .. }) => assert!(missing, "{}", pair.label),
                    Err(error) => panic!("{}: {error}", pair.label),
                },
                (name, None) => {
                    let Some(ids) = pair.body.as_array().filter(|ids| !ids.is_empty()) else {
                        // An empty batch and a bad body, which this client cannot send.
                        assert!(
                            ["retry_some-empty", "retry_some-bad-body"].contains(&&*pair.label)
                        );
                        continue;
                    };
                    let ids = ids.iter().map(|id| TaskId::from(id.as_str().unwrap())).collect();
                    let batch = Batch::new(ids).unwrap();
                    let verb = verb(name.trim_end_matches("_some"));
                    let outcomes = client.act_some(&kind, verb, &batch).await.unwrap();
                    let last = batch.ids().last().unwrap();
                    for (id, outcome) in outcomes {
                        assert_eq!(outcome.is_err(), id == *last, "{}", pair.label);
                    }
                }
            }
        }
        assert!(understood >= 18, "{understood}");
    }
}

#[tokio::test]
async fn recorded_refusals_are_refusals() {
    for recorded in [OPENLIST, ALIST] {
        let url = serve(recorded).await;
        let error = client(&url, "bad").list(&Kind::OfflineDownload).await.unwrap_err();
        assert!(matches!(error, Error::AuthRefused { .. }), "{error}");
        // A wrong password: 401 on one, 400 on the other; the hashed path is not recorded, so that the
        // plain one is used.
        for (user, password, right) in [("admin", "testpass", true), ("nobody", "x", false)] {
            let auth = Auth::Password {
                username: user.to_owned(),
                password: SecretSource::Literal(SecretString::from(password)),
                totp: None,
            };
            let client = Client::new(ClientSettings::new("home".into(), &*url, auth)).unwrap();
            let error = client.list(&Kind::Copy).await.unwrap_err();
            let text = error.to_string();
            assert_eq!(text.contains("a new token is refused as well"), right, "{text}");
            assert_eq!(text.contains("incorrect") || text.contains("Invalid username"), !right);
            assert_eq!(client.login_memory().refused(), u32::from(!right));
        }
    }
}
