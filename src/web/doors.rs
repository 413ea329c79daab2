//! Who may come in, and whether what they ask for is meant by them and not by another web page.
//!
//! Programs show the token with each request. People log in with it once and get a cookie; what
//! changes something needs a second secret beside the cookie, which only our own pages know. Where no
//! token is set, everybody on this machine may come in, and that second secret is the same for all.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Extension, Form, FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use jiff::{SignedDuration, Timestamp};
use schemars::JsonSchema;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::desk::Desk;
use super::problem::Problem;
use super::rate::Rate;
use crate::ambient::{monotonic, secret_text};
use crate::daemon::supervise::secret;
use crate::rules::ListenConfig;

/// How long a log-in holds after it was last used.
const IDLE: SignedDuration = SignedDuration::from_hours(12);

/// How long a log-in holds at most.
const LONGEST: SignedDuration = SignedDuration::from_hours(7 * 24);

/// How many log-ins hold at once; the one that was not used the longest goes first.
const SESSIONS: usize = 64;

/// The most that a request may carry.
pub const BODY: usize = 64 * 1024;

/// How long a request may take, but for the stream of events.
const LONGEST_REQUEST: Duration = Duration::from_secs(60);

/// The path to log in.
pub const LOGIN: &str = "/login";
/// The path to log out.
pub const LOGOUT: &str = "/logout";
/// Where what the pages are made of lies: style, script, pictures. Anybody may read it.
pub const ASSETS: &str = "/assets/";
/// The path that tells visitors who they are.
pub const SESSION: &str = "/api/v1/session";
/// The path of the stream of events.
pub const EVENTS: &str = "/api/v1/events";
/// The header in which scripts send the second secret; forms send it as a field called `csrf`.
pub const CSRF_HEADER: &str = "x-csrf-token";

/// No page may run or load anything but what comes from here, and nobody may put it into a frame.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
     connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

type Digest = [u8; 32];

fn digest(text: &str) -> Digest {
    Sha256::digest(text).into()
}

/// The address from which a request came.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub IpAddr);

/// How a visitor came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum By {
    /// No token is set.
    Anyone,
    /// They logged in.
    Session,
    /// They showed the token.
    Token,
}

/// Who asks, for pages and for the API.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Visitor {
    /// How they came in; null for those who have not, and may only log in.
    pub by: Option<By>,
    /// What must come with all that changes something: as the field `csrf` of a form, or in the
    /// header `X-CSRF-Token`. Not needed where the token is shown.
    pub csrf: String,
    /// Whether nothing can be changed here.
    pub read_only: bool,
}

impl<S: Send + Sync> FromRequestParts<S> for Visitor {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        let visitor = parts.extensions.get::<Self>().cloned();
        visitor.ok_or_else(|| Problem::new(StatusCode::FORBIDDEN, "nobody has let this in"))
    }
}

/// A log-in.
#[derive(Clone, Debug)]
struct Session {
    csrf: String,
    /// Of the token that was shown; another one ends it.
    token: Digest,
    began: Timestamp,
    used: Timestamp,
}

/// The log-ins that hold, and how often it was tried.
#[derive(Debug)]
pub struct Doors {
    /// The second secret of those who have no log-in.
    csrf: String,
    sessions: Mutex<HashMap<Digest, Session>>,
    logins: Rate,
    tokens: Rate,
    requests: Rate,
}

impl Default for Doors {
    fn default() -> Self {
        Self {
            csrf: secret_text(),
            sessions: Mutex::default(),
            logins: Rate::new(5, Duration::from_secs(12)),
            tokens: Rate::new(20, Duration::from_secs(6)),
            requests: Rate::new(300, Duration::from_millis(20)),
        }
    }
}

impl Doors {
    /// Begins a log-in; returns what its cookie holds.
    fn begin(&self, token: Digest, now: Timestamp) -> String {
        let name = secret_text();
        let session = Session { csrf: secret_text(), token, began: now, used: now };
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.retain(|_, session| session.holds(now));
        if sessions.len() >= SESSIONS
            && let Some(oldest) =
                sessions.iter().min_by_key(|(_, session)| session.used).map(|(name, _)| *name)
        {
            sessions.remove(&oldest);
        }
        sessions.insert(digest(&name), session);
        name
    }

    /// The second secret of a log-in that holds.
    fn enter(&self, name: &str, token: Digest, now: Timestamp) -> Option<String> {
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        let name = digest(name);
        let session = sessions.get_mut(&name)?;
        if session.token != token || !session.holds(now) {
            sessions.remove(&name);
            return None;
        }
        session.used = now;
        Some(session.csrf.clone())
    }

    fn end(&self, name: &str) {
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.remove(&digest(name));
    }
}

impl Session {
    fn holds(&self, now: Timestamp) -> bool {
        let (whole, idle) = (now.duration_since(self.began), now.duration_since(self.used));
        (SignedDuration::ZERO..LONGEST).contains(&whole) && idle < IDLE
    }
}

/// Lets a request through or not, by the rules in force, also on a connection that is older than
/// they are; and sees to it that every answer is one that a browser treats with care.
pub async fn admit(State(desk): State<Desk>, request: Request, next: Next) -> Response {
    let listen = desk.control.status().borrow().listen.clone();
    let Some(listen) = listen else { return StatusCode::NOT_FOUND.into_response() };
    let events = request.uri().path() == EVENTS;
    let answer = async {
        match enter(&desk, &listen, request).await {
            Ok(request) => {
                let visitor = request.extensions().get::<Visitor>().cloned();
                let mut response = next.run(request).await;
                // For whoever shows a problem to people.
                if let Some(visitor) = visitor {
                    response.extensions_mut().insert(visitor);
                }
                response
            }
            Err(refused) => *refused,
        }
    };
    let mut response = if events {
        answer.await
    } else {
        tokio::time::timeout(LONGEST_REQUEST, answer).await.unwrap_or_else(|_| {
            let text = "this takes too long; what was asked for may still be done";
            Problem::new(StatusCode::GATEWAY_TIMEOUT, text).into_response()
        })
    };
    guard(response.headers_mut());
    response
}

/// The headers of every answer.
fn guard(headers: &mut HeaderMap) {
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_FRAME_OPTIONS, "DENY"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    for (name, value) in [
        ("cross-origin-opener-policy", "same-origin"),
        ("cross-origin-resource-policy", "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    // What does not change says so itself.
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
}

/// The request, with its visitor; or the answer that turns it away.
async fn enter(
    desk: &Desk,
    listen: &ListenConfig,
    mut request: Request,
) -> Result<Request, Box<Response>> {
    let refuse = |problem: Problem| Err(Box::new(problem.into_response()));
    let peer = request.extensions().get::<Peer>().map_or(listen.address.ip(), |peer| peer.0);
    if let Err(problem) = names_us(request.headers(), listen) {
        return refuse(problem);
    }
    if let Err(seconds) = desk.doors.requests.take(peer, monotonic()) {
        return refuse(Problem::busy("too many requests; go slower", seconds));
    }
    if announces(request.headers()) > BODY as u64 {
        return refuse(too_large());
    }
    let path = request.uri().path().to_owned();
    let changes = !matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    if path.starts_with("/api/") && is_from_elsewhere(request.headers()) {
        return refuse(Problem::new(
            StatusCode::FORBIDDEN,
            "another web page asked for this, and it is none of its business",
        ));
    }
    let open = matches!(path.as_str(), "/healthz" | "/readyz" | SESSION | LOGIN)
        || path.starts_with(ASSETS);
    let (by, csrf) = match recognize(desk, listen, peer, request.headers()) {
        Ok(known) => known,
        Err(_) if open => (None, desk.doors.csrf.clone()),
        Err(problem) => return Err(Box::new(turn_away(&request, problem))),
    };
    if changes && by != Some(By::Token) {
        if let Err(problem) = is_ours(request.headers(), listen) {
            return refuse(problem);
        }
        request = match shows_csrf(request, &csrf).await {
            Ok(request) => request,
            Err(problem) => return refuse(problem),
        };
    }
    if changes && listen.read_only && !matches!(path.as_str(), LOGIN | LOGOUT) {
        return refuse(Problem::new(
            StatusCode::FORBIDDEN,
            "this only shows (`read_only` in `listen:`); use the commands, such as `taskwarden pause`",
        ));
    }
    let visitor = Visitor { by, csrf, read_only: listen.read_only };
    request.extensions_mut().insert(visitor);
    Ok(request)
}

/// People are sent to the page to log in, programs are told what to send.
fn turn_away(request: &Request, problem: Problem) -> Response {
    let path = request.uri().path();
    let page = *request.method() == Method::GET
        && !path.starts_with("/api/")
        && !path.starts_with("/-/")
        && path != "/metrics"
        && !request.headers().contains_key(header::AUTHORIZATION);
    if !page || problem.status != StatusCode::UNAUTHORIZED {
        return problem.into_response();
    }
    let wanted = request.uri().path_and_query().map_or("/", |wanted| wanted.as_str());
    see_other(&login_page(wanted, ""))
}

fn login_page(next: &str, more: &str) -> String {
    let next: String = next
        .bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                char::from(byte).to_string()
            }
            byte => format!("%{byte:02X}"),
        })
        .collect();
    format!("{LOGIN}?next={next}{more}")
}

fn see_other(place: &str) -> Response {
    let Ok(place) = HeaderValue::from_str(place) else {
        return (StatusCode::SEE_OTHER, [(header::LOCATION, "/")]).into_response();
    };
    (StatusCode::SEE_OTHER, [(header::LOCATION, place)]).into_response()
}

/// Who it is, with the second secret of theirs.
fn recognize(
    desk: &Desk,
    listen: &ListenConfig,
    peer: IpAddr,
    headers: &HeaderMap,
) -> Result<(Option<By>, String), Problem> {
    let Some(token) = &listen.token else {
        return Ok((Some(By::Anyone), desk.doors.csrf.clone()));
    };
    // Read anew each time, so that it can be changed.
    let wanted = secret(token)
        .read()
        .map_err(|why| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, why.to_string()))?;
    if let Some(given) = headers.get(header::AUTHORIZATION) {
        if let Err(seconds) = desk.doors.tokens.take(peer, monotonic()) {
            let text = "too many wrong tokens came from this address";
            return Err(Problem::busy(text, seconds));
        }
        if shows(given, &wanted) {
            desk.doors.tokens.give_back(peer);
            return Ok((Some(By::Token), String::new()));
        }
    } else if let Some(name) = cookie(headers, listen.address)
        && let Some(csrf) = desk.doors.enter(name, digest(wanted.expose_secret()), desk.clock.now())
    {
        return Ok((Some(By::Session), csrf));
    }
    let text = "send the token of `listen:` as `Authorization: Bearer TOKEN`, or log in";
    Err(Problem::new(StatusCode::UNAUTHORIZED, text))
}

fn shows(given: &HeaderValue, wanted: &SecretString) -> bool {
    let given = given.to_str().ok().and_then(|value| value.split_once(' '));
    let Some((scheme, given)) = given else { return false };
    // Digests, so that the time it takes tells nothing of how much was right.
    scheme.eq_ignore_ascii_case("bearer") && digest(given.trim()) == digest(wanted.expose_secret())
}

/// Cookies do not tell ports apart, so the name does.
fn cookie_name(address: SocketAddr) -> String {
    format!("taskwarden-{}", address.port())
}

fn cookie(headers: &HeaderMap, address: SocketAddr) -> Option<&str> {
    let name = cookie_name(address);
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find_map(|(key, value)| (key == name).then_some(value))
}

/// Whether the `Host` header names us: a name may be one that a web page made lead here.
fn names_us(headers: &HeaderMap, listen: &ListenConfig) -> Result<(), Problem> {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let known = match host.map(host_name) {
        // Programs that send none are no browsers.
        None => listen.token.is_some(),
        Some(name) => match name.parse::<IpAddr>() {
            Ok(ip) => listen.token.is_some() || ip == listen.address.ip() || ip.is_loopback(),
            Err(_) => {
                name.eq_ignore_ascii_case("localhost")
                    || listen.hosts.contains(&name.to_ascii_lowercase())
                    || (listen.token.is_some() && listen.hosts.is_empty())
            }
        },
    };
    if known {
        return Ok(());
    }
    Err(Problem::new(
        StatusCode::MISDIRECTED_REQUEST,
        "ask for the address itself, such as http://127.0.0.1, or add this name to `hosts` in \
         `listen:`",
    ))
}

/// The name in a `Host` header or an origin, without the port and without brackets.
fn host_name(host: &str) -> &str {
    if let Some(rest) = host.strip_prefix('[') {
        return rest.split(']').next().unwrap_or_default();
    }
    host.rsplit_once(':').map_or(host, |(name, _)| name)
}

/// Whether a browser says that another site wants this.
fn is_from_elsewhere(headers: &HeaderMap) -> bool {
    headers.get("sec-fetch-site").is_some_and(|site| site != "same-origin" && site != "none")
}

/// Whether nothing says that another web page sent this.
fn is_ours(headers: &HeaderMap, listen: &ListenConfig) -> Result<(), Problem> {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let origin_is_ours = headers.get(header::ORIGIN).is_none_or(|origin| {
        let origin = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
        origin.is_some_and(|(_, origin)| {
            origin.eq_ignore_ascii_case(host)
                || listen.hosts.contains(&host_name(origin).to_ascii_lowercase())
        })
    });
    if origin_is_ours && !is_from_elsewhere(headers) {
        return Ok(());
    }
    Err(Problem::new(
        StatusCode::FORBIDDEN,
        "this came from another web page; behind a reverse proxy add its name to `hosts` in \
         `listen:`",
    ))
}

/// The request again, when the second secret came with it.
async fn shows_csrf(request: Request, wanted: &str) -> Result<Request, Problem> {
    let same = |given: &str| digest(given) == digest(wanted);
    if let Some(given) = request.headers().get(CSRF_HEADER) {
        if given.to_str().is_ok_and(same) {
            return Ok(request);
        }
    } else if request.headers().get(header::CONTENT_TYPE).is_some_and(|kind| {
        kind.to_str().is_ok_and(|kind| kind.starts_with("application/x-www-form-urlencoded"))
    }) {
        #[derive(Deserialize)]
        struct Secret {
            csrf: String,
        }
        let (parts, body) = request.into_parts();
        let body = whole(body).await?;
        let form = Request::from_parts(parts.clone(), Body::from(body.clone()));
        let form = <Form<Secret> as axum::extract::FromRequest<()>>::from_request(form, &()).await;
        if form.is_ok_and(|Form(form)| same(&form.csrf)) {
            return Ok(Request::from_parts(parts, Body::from(body)));
        }
    }
    Err(Problem::new(
        StatusCode::FORBIDDEN,
        "the page is out of date, or this did not come from it: load it again. Programs send the \
         token, or the `csrf` of /api/v1/session in the header X-CSRF-Token",
    ))
}

/// How much the head of a request says that it carries.
fn announces(headers: &HeaderMap) -> u64 {
    let length = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok());
    length.and_then(|length| length.parse().ok()).unwrap_or(0)
}

fn too_large() -> Problem {
    let text = format!("the request carries more than {BODY} bytes, or was cut off");
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, text)
}

async fn whole(body: Body) -> Result<Bytes, Problem> {
    to_bytes(body, BODY).await.map_err(|_| too_large())
}

/// What the form to log in sends.
#[derive(Deserialize)]
pub struct Login {
    token: String,
    #[serde(default)]
    next: String,
}

/// Logs in, and goes on to the page that was wanted.
///
/// # Errors
/// When the token of the rules file cannot be read.
pub async fn login(
    State(desk): State<Desk>,
    peer: Option<Extension<Peer>>,
    headers: HeaderMap,
    Form(form): Form<Login>,
) -> Result<Response, Problem> {
    let listen = desk.control.status().borrow().listen.clone();
    let Some(ListenConfig { address, token: Some(token), .. }) = listen else {
        return Ok(see_other("/"));
    };
    let next = local(&form.next);
    let peer = peer.map_or(address.ip(), |Extension(Peer(peer))| peer);
    if let Err(seconds) = desk.doors.logins.take(peer, monotonic()) {
        return Ok(see_other(&login_page(next, &format!("&wait={seconds}"))));
    }
    let wanted = secret(&token)
        .read()
        .map_err(|why| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, why.to_string()))?;
    let wanted = digest(wanted.expose_secret());
    if digest(form.token.trim()) != wanted {
        return Ok(see_other(&login_page(next, "&failed=1")));
    }
    desk.doors.logins.give_back(peer);
    let name = desk.doors.begin(wanted, desk.clock.now());
    let mut response = see_other(next);
    set_cookie(&mut response, &headers, address, &name, IDLE.as_secs().max(0));
    Ok(response)
}

/// Logs out.
pub async fn logout(State(desk): State<Desk>, headers: HeaderMap) -> Response {
    let listen = desk.control.status().borrow().listen.clone();
    let mut response = see_other(LOGIN);
    if let Some(listen) = listen {
        if let Some(name) = cookie(&headers, listen.address) {
            desk.doors.end(name);
        }
        set_cookie(&mut response, &headers, listen.address, "", 0);
    }
    response
}

fn set_cookie(
    response: &mut Response,
    headers: &HeaderMap,
    address: SocketAddr,
    value: &str,
    seconds: i64,
) {
    // We speak no TLS ourselves; a proxy that does says so, and so does the browser.
    let is = |name: &str, begins: &str| {
        headers.get(name).and_then(|v| v.to_str().ok()).is_some_and(|v| v.starts_with(begins))
    };
    let secure = is("x-forwarded-proto", "https") || is("origin", "https://");
    let cookie = format!(
        "{}={value}; Path=/; HttpOnly; SameSite=Strict; Max-Age={seconds}{}",
        cookie_name(address),
        if secure { "; Secure" } else { "" }
    );
    if let Ok(cookie) = HeaderValue::from_str(&cookie) {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
}

/// The path, if it is one of ours; else the first page.
fn local(path: &str) -> &str {
    let ours = path.starts_with('/')
        && !path[1..].starts_with(['/', '\\'])
        && path.bytes().all(|byte| byte.is_ascii_graphic());
    if ours { path } else { "/" }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(hour: i64) -> Timestamp {
        Timestamp::from_second(1_790_000_000 + hour * 3600).unwrap()
    }

    #[test]
    fn a_log_in_ends_when_it_is_idle_old_or_the_token_is_another() {
        let (doors, token) = (Doors::default(), digest("open sesame"));
        let name = doors.begin(token, at(0));
        let csrf = doors.enter(&name, token, at(11)).unwrap();
        assert_eq!(doors.enter(&name, token, at(22)), Some(csrf));
        assert_eq!(doors.enter("another", token, at(22)), None);
        assert_eq!(doors.enter(&name, token, at(34)), None, "idle for twelve hours");
        assert_eq!(doors.enter(&name, token, at(23)), None, "and gone for good");

        let name = doors.begin(token, at(0));
        assert!((1..24).all(|turn| doors.enter(&name, token, at(turn * 7)).is_some()));
        assert_eq!(doors.enter(&name, token, at(24 * 7)), None, "a week is the longest");

        let name = doors.begin(token, at(0));
        assert_eq!(doors.enter(&name, digest("changed"), at(1)), None);
        assert_eq!(doors.enter(&name, token, at(1)), None);

        let name = doors.begin(token, at(0));
        doors.end(&name);
        assert_eq!(doors.enter(&name, token, at(0)), None);
    }

    #[test]
    fn so_many_log_ins_hold_at_once() {
        let (doors, token) = (Doors::default(), digest("open sesame"));
        let names: Vec<String> = (0..=SESSIONS).map(|_| doors.begin(token, at(0))).collect();
        let held = names.iter().filter(|name| doors.enter(name, token, at(1)).is_some());
        assert_eq!(held.count(), SESSIONS);
    }

    #[test]
    fn only_our_own_paths_are_gone_on_to() {
        for (path, to) in [
            ("/rules?since=2h", "/rules?since=2h"),
            ("", "/"),
            ("//evil.example", "/"),
            ("/\\evil.example", "/"),
            ("https://evil.example", "/"),
            ("/a b", "/"),
            ("/a\r\nSet-Cookie: x=y", "/"),
            ("/é", "/"),
        ] {
            assert_eq!(local(path), to, "{path:?}");
        }
        assert_eq!(login_page("/task?id=a&b=\"", ""), "/login?next=/task%3Fid%3Da%26b%3D%22");
    }

    #[test]
    fn hosts_and_origins_are_told_from_those_of_others() {
        let listen = |token: bool, hosts: &[&str]| ListenConfig {
            address: "127.0.0.1:9790".parse().unwrap(),
            token: token.then(|| crate::rules::SecretRef::Env("TOKEN".to_owned())),
            hosts: hosts.iter().map(|&host| host.to_owned()).collect(),
            read_only: false,
        };
        let headers = |pairs: &[(&'static str, &'static str)]| -> HeaderMap {
            pairs
                .iter()
                .map(|(name, value)| {
                    (
                        (*name).parse::<header::HeaderName>().unwrap(),
                        HeaderValue::from_static(value),
                    )
                })
                .collect()
        };
        for (host, bare, token, named) in [
            ("127.0.0.1:9790", true, true, true),
            ("localhost", true, true, true),
            ("LocalHost:9790", true, true, true),
            ("[::1]:9790", true, true, true),
            ("192.0.2.7", false, true, false),
            ("nas.lan:9790", false, true, true),
            ("NAS.lan", false, true, true),
            ("evil.example", false, true, false),
            ("127.0.0.1.evil.example", false, true, false),
            ("localhost.evil.example:80", false, true, false),
            ("", false, true, false),
        ] {
            let headers = headers(&[("host", host)]);
            let fits = |listen| names_us(&headers, &listen).is_ok();
            assert_eq!(fits(listen(false, &[])), bare, "{host}");
            assert_eq!(fits(listen(true, &[])), token, "{host}");
            assert_eq!(fits(listen(false, &["nas.lan"])), named, "{host}");
        }
        for (origin, site, ours) in [
            (None, None, true),
            (Some("http://127.0.0.1:9790"), None, true),
            (Some("http://127.0.0.1:9790"), Some("same-origin"), true),
            (None, Some("none"), true),
            (Some("https://nas.lan"), None, true),
            (Some("http://127.0.0.1:5244"), None, false),
            (None, Some("same-site"), false),
            (None, Some("cross-site"), false),
            (Some("null"), None, false),
            (Some("http://evil.example"), Some("same-origin"), false),
        ] {
            let mut pairs = vec![("host", "127.0.0.1:9790")];
            pairs.extend(origin.map(|origin| ("origin", origin)));
            pairs.extend(site.map(|site| ("sec-fetch-site", site)));
            let is = is_ours(&headers(&pairs), &listen(true, &["nas.lan"])).is_ok();
            assert_eq!(is, ours, "{origin:?} {site:?}");
        }
    }
}
