//! The model behind a real socket on the loopback address.
//!
//! Each request first brings the model to the present moment, then takes effect, then is answered;
//! what the task API does is the model's business, what it looks like is [`super::wire`]'s.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, Response, StatusCode, header};
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimePrinter;
use serde_json::Value;
use tokio::net::{TcpListener, TcpSocket};
use tokio::task::JoinHandle;

use super::accounts::{LoginRequest, Refusal, Viewer};
use super::faults::{Fault, Phase};
use super::line::{Door, Line, Lines, Via};
use super::model::Model;
use super::settings::Settings;
use super::task::Endpoint;
use super::wire::{self, HTML, JSON, Route};

/// More than any client sends.
const BODY_LIMIT: usize = 16 << 20;

/// A source of virtual time.
type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// What a sandbox is started with.
#[derive(Clone)]
pub struct Options {
    /// The server to imitate.
    pub settings: Settings,
    /// The present moment, in virtual time.
    pub now: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    /// Repeats the same ids, list orders and draws.
    pub seed: u64,
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("settings", &self.settings)
            .field("seed", &self.seed)
            .finish_non_exhaustive()
    }
}

struct Shared {
    model: Mutex<Model>,
    now: Clock,
}

impl Shared {
    /// The model, brought to the present.
    fn model(&self) -> MutexGuard<'_, Model> {
        let mut model = self.model.lock().unwrap_or_else(PoisonError::into_inner);
        model.advance_to((self.now)());
        model
    }
}

/// A running sandbox server. It stops when dropped.
pub struct Sandbox {
    shared: Arc<Shared>,
    lines: Arc<Lines>,
    address: SocketAddr,
    /// Bound to the address and never listening, so that nobody else is given the port while this is
    /// away: not another server, nor the end of a connection that asks for just this port.
    _kept: TcpSocket,
    prefix: String,
    token: String,
    serving: Mutex<Option<JoinHandle<()>>>,
}

impl fmt::Debug for Sandbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sandbox").field("url", &self.url()).finish_non_exhaustive()
    }
}

impl Sandbox {
    /// Starts a server on a free port of the loopback address.
    ///
    /// # Errors
    /// When no port can be bound.
    pub async fn start(options: Options) -> io::Result<Self> {
        let kept = TcpSocket::new_v4()?;
        kept.set_reuseaddr(true)?;
        kept.bind((Ipv4Addr::LOCALHOST, 0).into())?;
        let address = kept.local_addr()?;
        let listener = TcpListener::bind(address).await?;
        let Options { settings, now, seed } = options;
        let (prefix, token) = (settings.prefix.clone(), settings.admin_token.clone());
        let model = Mutex::new(Model::new(settings, now(), seed));
        let sandbox = Self {
            shared: Arc::new(Shared { model, now }),
            lines: Arc::default(),
            address,
            _kept: kept,
            prefix,
            token,
            serving: Mutex::new(None),
        };
        sandbox.serve(listener);
        Ok(sandbox)
    }

    fn serve(&self, listener: TcpListener) {
        let door = Door { listener, lines: Arc::clone(&self.lines) };
        let router = Router::new().fallback(handle).with_state(Arc::clone(&self.shared));
        let service = router.into_make_service_with_connect_info::<Via>();
        let serving = tokio::spawn(async move {
            // It only ends when it is aborted.
            let _ = axum::serve(door, service).await;
        });
        *self.serving.lock().unwrap_or_else(PoisonError::into_inner) = Some(serving);
    }

    /// The server's base address, with its prefix.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}{}", self.address, self.prefix)
    }

    /// The static admin token.
    #[must_use]
    pub fn token(&self) -> &str {
        &self.token
    }

    /// Does something with the model, brought to the present moment first.
    pub fn with_model<T>(&self, act: impl FnOnce(&mut Model) -> T) -> T {
        act(&mut self.shared.model())
    }

    /// Stops listening and resets every connection, as a lost network does. The tasks go on.
    pub async fn go_away(&self) {
        let serving = self.serving.lock().unwrap_or_else(PoisonError::into_inner).take();
        // First those that are open: once the listener is gone they would end in good order. Then
        // those that it let in meanwhile.
        self.lines.cut();
        if let Some(serving) = serving {
            serving.abort();
            let _ = serving.await;
        }
        self.lines.cut();
    }

    /// Listens again, on the same port. Without effect while it still listens.
    ///
    /// # Errors
    /// When the system refuses to.
    pub async fn come_back(&self) -> io::Result<()> {
        let listens = self.serving.lock().unwrap_or_else(PoisonError::into_inner).is_some();
        if !listens {
            self.serve(TcpListener::bind(self.address).await?);
        }
        Ok(())
    }

    /// Restarts the server process: connections, logins and all that was only in memory are lost.
    ///
    /// # Errors
    /// When the port was taken in the meantime.
    pub async fn restart(&self) -> io::Result<()> {
        self.go_away().await;
        self.with_model(Model::restart);
        self.come_back().await
    }

    /// Stops for good; returns once nothing listens any more.
    pub async fn stop(self) {
        self.go_away().await;
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.lines.cut();
        if let Some(serving) = self.serving.lock().unwrap_or_else(PoisonError::into_inner).take() {
            serving.abort();
        }
    }
}

/// A request, read whole.
struct Incoming {
    method: String,
    /// Without the server's prefix; none when it lacks that prefix.
    path: Option<String>,
    query: Option<String>,
    headers: HeaderMap,
    body: Bytes,
}

/// An answer before any fault.
struct Plain {
    status: StatusCode,
    content_type: Option<&'static str>,
    location: Option<String>,
    body: String,
}

impl Plain {
    fn json(body: String) -> Self {
        Self { status: StatusCode::OK, content_type: Some(JSON), location: None, body }
    }

    fn html(status: StatusCode, body: &str) -> Self {
        Self { status, content_type: Some(HTML), location: None, body: body.to_owned() }
    }

    fn refused(code: u16, message: &str) -> Self {
        Self::json(wire::envelope(code, message, &Value::Null))
    }
}

async fn handle(
    State(shared): State<Arc<Shared>>,
    ConnectInfo(Via(line)): ConnectInfo<Via>,
    request: Request,
) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, BODY_LIMIT).await.unwrap_or_default();
    let (route, fault, incoming) = {
        let mut model = shared.model();
        let path = parts.uri.path().strip_prefix(model.settings().prefix.as_str());
        let incoming = Incoming {
            method: parts.method.to_string(),
            path: path.map(str::to_owned),
            query: parts.uri.query().map(str::to_owned),
            headers: parts.headers,
            body,
        };
        // A path outside the prefix can only be the page, or refused for its method.
        let path = path.unwrap_or_default();
        let route = wire::route(model.settings(), &incoming.method, path);
        let line = wire::request_line(&incoming.method, path, &route);
        let fault = model.faults().draw(&line);
        (route, fault, incoming)
    };
    if let Some((Fault::Slow(wait), Phase::Before)) = fault {
        tokio::time::sleep(wait).await;
    }
    let lost = matches!(&fault, Some((fault, Phase::Before)) if !matches!(fault, Fault::Slow(_)));
    let (plain, date) = {
        let mut model = shared.model();
        let plain = if lost {
            lose(&mut model, &route, &incoming, fault.clone());
            Plain::html(StatusCode::OK, "")
        } else {
            serve(&mut model, &route, &incoming, fault.clone())
        };
        (plain, model.shown(model.now()))
    };
    let mut response = match fault {
        None | Some((Fault::Slow(_), Phase::Before)) => whole(plain),
        Some((fault, _)) => faulty(fault, plain, &line).await,
    };
    let date = DateTimePrinter::new().timestamp_to_rfc9110_string(&date).ok();
    if let Some(date) = date.and_then(|date| date.parse().ok()) {
        response.headers_mut().insert(header::DATE, date);
    }
    response
}

/// The referee hears of a call that never took effect.
fn lose(model: &mut Model, route: &Route, incoming: &Incoming, fault: Option<(Fault, Phase)>) {
    if let Route::Task { kind, endpoint, .. } = route {
        let ids = ids(*endpoint, incoming).unwrap_or_default();
        model.call_lost(kind, *endpoint, &ids, fault);
    }
}

fn serve(
    model: &mut Model,
    route: &Route,
    incoming: &Incoming,
    fault: Option<(Fault, Phase)>,
) -> Plain {
    match route {
        Route::Page => Plain::html(StatusCode::OK, wire::PAGE),
        Route::MethodNotAllowed => Plain {
            status: StatusCode::METHOD_NOT_ALLOWED,
            content_type: None,
            location: None,
            body: String::new(),
        },
        Route::Redirect => redirect(model, incoming),
        Route::PublicSettings => Plain::json(wire::public_settings(model.settings().flavour)),
        Route::Login { hashed } => login(model, incoming, *hashed),
        Route::Me | Route::Settings | Route::Storages => about(model, route, incoming),
        Route::Task { kind, endpoint, legacy } => {
            let viewer = match viewer(model, incoming) {
                Ok(viewer) => viewer,
                Err(refusal) => {
                    lose(model, route, incoming, fault);
                    return Plain::json(wire::refused(&refusal));
                }
            };
            if *legacy && !viewer.admin {
                lose(model, route, incoming, fault);
                return Plain::refused(403, "You are not an admin");
            }
            let Ok(ids) = ids(*endpoint, incoming) else {
                lose(model, route, incoming, fault);
                return Plain::refused(400, "invalid request format");
            };
            let answer = model.call(&viewer, kind, *endpoint, &ids, fault);
            Plain::json(wire::answer(model.settings(), |time| model.shown(time), &answer))
        }
    }
}

fn viewer(model: &Model, incoming: &Incoming) -> Result<Viewer, Refusal> {
    let authorization =
        incoming.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    model.accounts.viewer(authorization, model.now())
}

/// What the server says of itself and the caller.
fn about(model: &Model, route: &Route, incoming: &Incoming) -> Plain {
    let settings = model.settings();
    Plain::json(match (viewer(model, incoming), route) {
        (Err(refusal), _) => wire::refused(&refusal),
        (Ok(viewer), Route::Me) => match model.accounts.user(&viewer.name) {
            Some((number, user)) => wire::me(settings.flavour, number, user),
            None => return Plain::refused(401, "token is invalidated"),
        },
        (Ok(viewer), _) if !viewer.admin => return Plain::refused(403, "You are not an admin"),
        (Ok(_), Route::Settings) => wire::settings(settings),
        (Ok(_), _) => wire::storages(settings),
    })
}

fn redirect(model: &Model, incoming: &Incoming) -> Plain {
    let path = incoming.path.as_deref().unwrap_or_default().trim_end_matches('/');
    let query = incoming.query.as_ref().map(|query| format!("?{query}")).unwrap_or_default();
    let get = incoming.method == "GET";
    Plain {
        status: if get { StatusCode::MOVED_PERMANENTLY } else { StatusCode::TEMPORARY_REDIRECT },
        content_type: get.then_some("text/html; charset=utf-8"),
        location: Some(format!("{}{path}{query}", model.settings().prefix)),
        body: String::new(),
    }
}

fn login(model: &mut Model, incoming: &Incoming, hashed: bool) -> Plain {
    let body: Value = serde_json::from_slice(&incoming.body).unwrap_or_default();
    let text = |key: &str| body.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let request = LoginRequest {
        username: text("username"),
        password: text("password"),
        otp_code: text("otp_code"),
        hashed,
        user_agent: incoming
            .headers
            .get(header::USER_AGENT)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
            .to_owned(),
    };
    if !is_json(&incoming.headers) || request.username.is_empty() {
        return Plain::refused(400, "invalid request format");
    }
    let now = model.now();
    let shown = model.shown(now);
    Plain::json(match model.accounts.login(&request, now, shown) {
        Ok(grant) => wire::granted(&grant),
        Err(refusal) => wire::refused(&refusal),
    })
}

/// Exactly `application/json`, parameters apart (CONTRACT.md, "Answers").
fn is_json(headers: &HeaderMap) -> bool {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    value
        .and_then(|value| value.split(';').next())
        .is_some_and(|kind| kind.trim() == "application/json")
}

struct BadBody;

/// The ids a request names. With another type than JSON, or `null`, it names none: the servers then
/// answer success and do nothing.
fn ids(endpoint: Endpoint, incoming: &Incoming) -> Result<Vec<String>, BadBody> {
    match endpoint {
        Endpoint::Info | Endpoint::Delete | Endpoint::Cancel | Endpoint::Retry => {
            let query = incoming.query.as_deref().unwrap_or_default();
            let tid = query.split('&').find_map(|pair| pair.strip_prefix("tid="));
            Ok(vec![percent_decoded(tid.unwrap_or_default())])
        }
        Endpoint::DeleteSome | Endpoint::CancelSome | Endpoint::RetrySome => {
            if !is_json(&incoming.headers) {
                return Ok(Vec::new());
            }
            let ids: Option<Vec<String>> =
                serde_json::from_slice(&incoming.body).map_err(|_| BadBody)?;
            Ok(ids.unwrap_or_default())
        }
        _ => Ok(Vec::new()),
    }
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let escape = text_of(tail.get(..2)).and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match (first, escape) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            (b'+', _) => {
                bytes.push(b' ');
                rest = tail;
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn text_of(bytes: Option<&[u8]>) -> Option<&str> {
    bytes.and_then(|bytes| std::str::from_utf8(bytes).ok())
}

fn whole(plain: Plain) -> Response<Body> {
    let mut response = Response::new(Body::from(plain.body));
    *response.status_mut() = plain.status;
    if let Some(kind) = plain.content_type {
        response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(kind));
    }
    if let Some(location) = plain.location.and_then(|location| location.parse().ok()) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

/// The answer to a request that goes wrong; `plain` is what it would have been.
async fn faulty(fault: Fault, plain: Plain, line: &Line) -> Response<Body> {
    match fault {
        Fault::Http5xx(status, body) => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            whole(Plain {
                content_type: Some("text/plain; charset=utf-8"),
                ..Plain::html(status, &body)
            })
        }
        Fault::Http502Page => whole(Plain::html(
            StatusCode::BAD_GATEWAY,
            "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n\
             <center><h1>502 Bad Gateway</h1></center>\r\n<hr><center>nginx</center>\r\n\
             </body>\r\n</html>\r\n",
        )),
        Fault::Reset => {
            // The write of whatever follows fails, and the socket closes with a reset.
            line.cut();
            whole(plain)
        }
        Fault::Truncate => truncated(plain),
        Fault::Code401 => whole(Plain::refused(401, "token is invalidated")),
        Fault::Code403 => whole(Plain::refused(403, "permission denied")),
        Fault::Hang(Some(wait)) => {
            tokio::time::sleep(wait).await;
            line.cut();
            whole(plain)
        }
        Fault::Hang(None) => std::future::pending().await,
        Fault::Slow(wait) => {
            tokio::time::sleep(wait).await;
            whole(plain)
        }
        Fault::WrongHtml => whole(Plain::html(StatusCode::OK, wire::PAGE)),
        Fault::EmptyBody => whole(Plain::json(String::new())),
        Fault::GarbageJson => {
            whole(Plain::json("{\"code\":200,\"message\":\"succ\u{fffd}".to_owned()))
        }
    }
}

/// Half of an answer whose `Content-Length` promises all of it.
fn truncated(plain: Plain) -> Response<Body> {
    let length = plain.body.len();
    let body = Bytes::from(plain.body);
    let half = body.slice(..length / 2);
    let stream = futures_util::stream::unfold(Some(half), |half| async move {
        match half {
            Some(half) if !half.is_empty() => Some((Ok(half), Some(Bytes::new()))),
            Some(_) => {
                // Lets the first half reach the socket before the connection breaks.
                tokio::task::yield_now().await;
                Some((Err(io::Error::from(io::ErrorKind::ConnectionReset)), None))
            }
            None => None,
        }
    });
    let mut response = whole(Plain { body: String::new(), ..plain });
    *response.body_mut() = Body::from_stream(stream);
    response.headers_mut().insert(header::CONTENT_LENGTH, length.into());
    response
}
