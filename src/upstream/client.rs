//! One server: its address, its calls.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, DATE, HeaderMap, HeaderValue, LOCATION};
use reqwest::{Method, StatusCode, Url};
use secrecy::{ExposeSecret, SecretString};

use super::auth::{Auth, Credentials, Entry, LoginAnswer, LoginMemory, Pass, TokenClaims};
use super::error::{At, Error, Oddity};
use super::list::Reader;
use super::wire::{self, Envelope, RoleForm, WireError};
use crate::ambient::{self, Clock};
use crate::engine::listing::Listing;
use crate::engine::name::scrub;
use crate::engine::task::{Flavour, Kind, ServerName, Task, TaskId};

/// Always the same, since a setting of `AList` caps the devices of a user and tells them by it
/// (CONTRACT.md, "Requests").
const USER_AGENT: &str = concat!("taskwarden/", env!("CARGO_PKG_VERSION"));

/// A login's answer, and the public settings, are small.
const SMALL_BODY: u64 = 1024 * 1024;

/// Idle connections are let go soon after a look and what follows from it: long before the usual proxies
/// close them (nginx: 75 s), so that an action seldom meets one that is closing, and so that nothing wakes
/// up for them, or is held in memory, until the next look.
const IDLE: Duration = Duration::from_secs(2);

/// What a client needs to know of its server.
#[derive(Clone)]
pub struct ClientSettings {
    /// The server's name in the rules file.
    pub server: ServerName,
    /// Its address, `http` or `https`, with a prefix if it lives below one (`https://nas.example/list/`).
    pub base_url: String,
    /// How to get in.
    pub auth: Auth,
    /// The longest time for a connection to stand, TLS included.
    pub connect_timeout: Duration,
    /// The longest time for a whole call, from the first byte sent to the last received.
    pub request_timeout: Duration,
    /// The largest answer that is taken in, in bytes.
    pub max_body: u64,
    /// A PEM file of CA certificates to be trusted besides the system's.
    pub ca_file: Option<PathBuf>,
    /// Where the time comes from.
    pub clock: Clock,
}

impl ClientSettings {
    /// The settings with 10 s to connect, 60 s a call, answers up to 256 MiB and the machine's clock.
    #[must_use]
    pub fn new(server: ServerName, base_url: impl Into<String>, auth: Auth) -> Self {
        Self {
            server,
            base_url: base_url.into(),
            auth,
            connect_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(60),
            max_body: 256 * 1024 * 1024,
            ca_file: None,
            clock: Clock::system(),
        }
    }
}

impl fmt::Debug for ClientSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientSettings")
            .field("server", &self.server)
            .field("base_url", &without_userinfo(&self.base_url))
            .field("auth", &self.auth)
            .field("connect_timeout", &self.connect_timeout)
            .field("request_timeout", &self.request_timeout)
            .field("max_body", &self.max_body)
            .field("ca_file", &self.ca_file)
            .finish_non_exhaustive()
    }
}

/// Why there can be no client with these settings. All are mistakes in the configuration.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The address cannot be used.
    #[error("the address `{url}` {why}")]
    Url {
        /// The address, without user and password.
        url: String,
        /// What is wrong and what to do.
        why: String,
    },
    /// The CA file cannot be used.
    #[error("the CA file {} {why}", .path.display())]
    CaFile {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// TLS cannot be set up, mostly because the system has no root certificates.
    #[error("TLS cannot be set up: {0}; install the system's CA certificates or give a CA file")]
    Tls(String),
}

/// Which of the two base paths a server answers under (CONTRACT.md, "Requests").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Base {
    /// `/api/task`
    Modern,
    /// `/api/admin/task`, the only one of older servers.
    Legacy,
}

impl Base {
    fn segments(self) -> &'static [&'static str] {
        match self {
            Self::Modern => &["api", "task"],
            Self::Legacy => &["api", "admin", "task"],
        }
    }
}

/// What can be done to tasks. What it does depends on their state (CONTRACT.md, "What the endpoints do
/// to a task"): the caller must have looked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verb {
    /// Run again.
    Retry,
    /// Stop.
    Cancel,
    /// Take off the list.
    Delete,
}

impl Verb {
    fn one(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::Cancel => "cancel",
            Self::Delete => "delete",
        }
    }

    fn some(self) -> &'static str {
        match self {
            Self::Retry => "retry_some",
            Self::Cancel => "cancel_some",
            Self::Delete => "delete_some",
        }
    }
}

/// What can be done to a whole kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KindVerb {
    /// Takes succeeded, failed **and** canceled tasks off the list.
    ClearDone,
    /// Takes succeeded tasks off the list.
    ClearSucceeded,
    /// Runs every failed task again, whatever its error, all at once.
    RetryFailed,
}

impl KindVerb {
    fn endpoint(self) -> &'static str {
        match self {
            Self::ClearDone => "clear_done",
            Self::ClearSucceeded => "clear_succeeded",
            Self::RetryFailed => "retry_failed",
        }
    }
}

/// One to [`Batch::MAX`] ids, no id twice: a server acts twice on an id that is listed twice
/// (CONTRACT.md, "Answers").
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch(Vec<TaskId>);

/// Why ids make no batch.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// There are none.
    #[error("a batch holds at least one task")]
    Empty,
    /// There are more than [`Batch::MAX`].
    #[error("a batch holds at most {max} tasks, not {0}", max = Batch::MAX)]
    TooMany(usize),
    /// One is there twice.
    #[error("task {0} is twice in the batch")]
    Twice(TaskId),
}

impl Batch {
    /// The most ids that one call carries.
    pub const MAX: usize = 100;

    /// Checks the ids.
    ///
    /// # Errors
    /// If there are none, too many, or one twice.
    pub fn new(ids: Vec<TaskId>) -> Result<Self, BatchError> {
        if ids.is_empty() {
            return Err(BatchError::Empty);
        }
        if ids.len() > Self::MAX {
            return Err(BatchError::TooMany(ids.len()));
        }
        let mut sorted: Vec<&TaskId> = ids.iter().collect();
        sorted.sort_unstable();
        if let Some(pair) = sorted.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(BatchError::Twice(pair[0].clone()));
        }
        Ok(Self(ids))
    }

    /// The ids, in the order given.
    #[must_use]
    pub fn ids(&self) -> &[TaskId] {
        &self.0
    }
}

/// One look at the tasks of a kind.
#[derive(Clone, Debug)]
pub struct KindList {
    /// The tasks of both lists, each once, by id. A task that moved from `done` to `undone` between the
    /// two readings is in neither: absence from one look proves nothing.
    pub tasks: Listing,
    /// When the look began, by this machine's clock.
    pub read_at: Timestamp,
    /// What the server's clock showed, to the second, between `read_at` and `read_at + roundtrip`;
    /// `None` if it does not say.
    pub date: Option<Timestamp>,
    /// How long the first answer took to begin.
    pub roundtrip: Duration,
    /// How roles are written.
    pub role_form: RoleForm,
    /// The size of both answers.
    pub bytes: u64,
}

impl KindList {
    /// How far the server's clock is ahead of this machine's, if it tells.
    #[must_use]
    pub fn skew(&self) -> Option<SignedDuration> {
        self.date.map(|date| skew(date, self.read_at, self.roundtrip))
    }
}

/// The clock was read somewhere between question and answer.
fn skew(date: Timestamp, read_at: Timestamp, roundtrip: Duration) -> SignedDuration {
    let roundtrip = SignedDuration::try_from(roundtrip).unwrap_or_default();
    date.duration_since(read_at) - roundtrip / 2
}

/// What a server tells everybody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Greeting {
    /// What it calls its version; `None` if it does not say.
    pub version: Option<String>,
    /// How far its clock is ahead of this machine's, if it tells.
    pub skew: Option<SignedDuration>,
}

/// How calls travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// Over TLS.
    Tls,
    /// In clear, and never off this machine.
    Loopback,
    /// In clear, for everybody on the way to read.
    Clear,
}

/// What a server has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Discovery {
    /// Those of the candidates that it has, in their order.
    pub kinds: Vec<Kind>,
    /// Those whose call failed, so that it is not known whether it has them.
    pub unsure: Vec<Kind>,
    /// Where it has them.
    pub base: Base,
    /// Which product it is.
    pub flavour: Flavour,
    /// What it calls its version; `None` if it does not say.
    pub version: Option<String>,
}

/// A client of one server. All calls take `&self` and may run side by side.
#[derive(Debug)]
pub struct Client {
    server: ServerName,
    base_url: Url,
    http: reqwest::Client,
    connect_timeout: Duration,
    request_timeout: Duration,
    max_body: u64,
    clock: Clock,
    entry: Entry,
    /// 0 not known, 1 modern, 2 legacy.
    base: AtomicU8,
}

/// One request, as often as it has to be put together.
pub(super) struct Call<'a> {
    method: Method,
    segments: Vec<&'a str>,
    tid: Option<&'a TaskId>,
    json: Option<String>,
    limit: u64,
    /// Whether the answer is a list of tasks, which can be long.
    lists: bool,
}

impl<'a> Call<'a> {
    /// A GET of what is small.
    pub(super) fn get(path: &[&'a str]) -> Self {
        let segments = path.to_vec();
        Self {
            method: Method::GET,
            segments,
            tid: None,
            json: None,
            limit: SMALL_BODY,
            lists: false,
        }
    }
}

/// What came back, whole.
struct Answer {
    status: StatusCode,
    html: bool,
    location: Option<String>,
    date: Option<Timestamp>,
    roundtrip: Duration,
    body: String,
}

impl Client {
    /// Sets the client up; nothing is sent, and no secret is read.
    ///
    /// # Errors
    /// If the address or the CA file cannot be used, or TLS not be set up.
    pub fn new(settings: ClientSettings) -> Result<Self, BuildError> {
        let base_url = parse_base_url(&settings.base_url)?;
        let http = build_http(&settings, &base_url)?;
        Ok(Self {
            http,
            base_url,
            connect_timeout: settings.connect_timeout,
            request_timeout: settings.request_timeout,
            max_body: settings.max_body,
            entry: Entry::new(settings.server.clone(), settings.auth, settings.clock.clone()),
            server: settings.server,
            clock: settings.clock,
            base: AtomicU8::new(0),
        })
    }

    /// The server's name.
    #[must_use]
    pub fn server(&self) -> &ServerName {
        &self.server
    }

    /// How calls travel to the server.
    #[must_use]
    pub fn transport(&self) -> Transport {
        match self.base_url.scheme() {
            "https" => Transport::Tls,
            _ if is_loopback(&self.base_url) => Transport::Loopback,
            _ => Transport::Clear,
        }
    }

    /// What the token in use says of itself, if it is one that does (a JWT, as a login gives);
    /// `None` for the static token, and before the first call.
    #[must_use]
    pub fn token_claims(&self) -> Option<TokenClaims> {
        self.entry.claims()
    }

    /// What must be kept over a restart; keep it whenever it differs from what was kept last.
    #[must_use]
    pub fn login_memory(&self) -> LoginMemory {
        self.entry.memory()
    }

    /// Takes in what was kept; to be called before the first call.
    pub fn restore_login_memory(&self, memory: LoginMemory) {
        self.entry.restore(memory);
    }

    /// A person asked for another login, by `reload` say: one more is tried without its wait, unless
    /// the server's own lock runs or the same credentials could lock the address. Not to be called for
    /// what happens by itself, such as a rules file that changed.
    pub fn allow_login_again(&self) {
        self.entry.ask();
    }

    /// Finds out which of the candidates the server has, and what it is.
    ///
    /// # Errors
    /// [`Error::NoApi`] if it has none of them; whatever keeps it from being asked, while none has
    /// answered.
    pub async fn discover(&self, candidates: &[Kind]) -> Result<Discovery, Error> {
        let mut absence = None;
        for base in [Base::Modern, Base::Legacy] {
            let (mut kinds, mut unsure) = (Vec::new(), Vec::new());
            let mut role_form = RoleForm::None;
            for kind in candidates {
                let mut reader = Reader::default();
                reader.begin();
                match self.read_part(base, kind, "undone", &mut reader).await {
                    Ok(_) => {
                        if role_form == RoleForm::None {
                            role_form = reader.role_form();
                        }
                        kinds.push(kind.clone());
                    }
                    Err(error) if is_not_there(&error) => absence = Some(error),
                    // It answered in the API's form: the kind is there, whatever ails it.
                    Err(
                        Error::Forbidden { .. }
                        | Error::BadRequest { .. }
                        | Error::Server { .. }
                        | Error::Unexpected { oddity: Oddity::Data(_), .. },
                    ) => kinds.push(kind.clone()),
                    Err(_) if !kinds.is_empty() => unsure.push(kind.clone()),
                    Err(error) => return Err(error),
                }
            }
            if !kinds.is_empty() {
                self.remember_base(base);
                let version = self.greet().await.ok().and_then(|greeting| greeting.version);
                let flavour = flavour(candidates, &kinds, role_form, version.as_deref());
                return Ok(Discovery { kinds, unsure, base, flavour, version });
            }
        }
        Err(self.no_api(absence))
    }

    fn no_api(&self, absence: Option<Error>) -> Error {
        let url = self.base_url.to_string();
        match absence {
            Some(Error::Unexpected { at, status, oddity, excerpt }) => {
                Error::NoApi { at, url, status, oddity, excerpt }
            }
            Some(error) => error,
            None => Error::NoApi {
                at: At { server: self.server.clone(), endpoint: "discovery".to_owned() },
                url,
                status: 0,
                oddity: Oddity::Data("no kind of task was asked for".to_owned()),
                excerpt: String::new(),
            },
        }
    }

    /// Asks for the public settings, for which the server wants no token.
    ///
    /// # Errors
    /// When no answer of a file-list server came.
    pub async fn greet(&self) -> Result<Greeting, Error> {
        let call = Call::get(&["api", "public", "settings"]);
        let at = self.at(&call);
        let read_at = self.clock.now();
        let answer = self.exchange(&at, &call, None).await?;
        let envelope = self.envelope(&at, &answer, Envelope::parse)?;
        let version = (envelope.code == 200).then(|| envelope.version()).flatten();
        Ok(Greeting {
            version: version.map(|version| self.excerpt(&version)),
            skew: answer.date.map(|date| skew(date, read_at, answer.roundtrip)),
        })
    }

    /// Reads `undone`, then `done`, of a kind. A task that is in both counts as `done` has it.
    ///
    /// # Errors
    /// [`Error::KindAbsent`] if the server has no such kind; else why it could not be read whole.
    pub async fn list(&self, kind: &Kind) -> Result<KindList, Error> {
        self.list_again(kind, &mut Reader::default()).await
    }

    /// The same with a reader that has read the kind before: what is listed as it was is not read again.
    ///
    /// # Errors
    /// As [`Client::list`].
    pub async fn list_again(&self, kind: &Kind, reader: &mut Reader) -> Result<KindList, Error> {
        let read_at = self.clock.now();
        reader.begin();
        let (base, meta) = self.read_undone(kind, reader).await?;
        let done_meta = self.read_part(base, kind, "done", reader).await?;
        Ok(KindList {
            tasks: reader.finish(),
            read_at,
            date: meta.date,
            roundtrip: meta.roundtrip,
            role_form: reader.role_form(),
            bytes: meta.bytes + done_meta.bytes,
        })
    }

    /// Reads one task; `None` if the server has none of this id, or not for this user.
    ///
    /// # Errors
    /// Why it could not be read.
    pub async fn info(&self, kind: &Kind, id: &TaskId) -> Result<Option<Arc<Task>>, Error> {
        let base = self.settled_base(kind).await?;
        let call = self.action(base, kind, "info", Some(id));
        match self.call(&call, |envelope| wire::info(envelope, id)).await {
            Ok((task, _)) => Ok(task),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Acts on one task.
    ///
    /// # Errors
    /// Why it was not accepted; [`Error::certainty`] tells whether it may have been carried out.
    pub async fn act_one(&self, kind: &Kind, verb: Verb, id: &TaskId) -> Result<(), Error> {
        let base = self.settled_base(kind).await?;
        self.call(&self.action(base, kind, verb.one(), Some(id)), |_| Ok(())).await?;
        Ok(())
    }

    /// Acts on some tasks in one call. Answers for each id whether it was accepted, or the server's
    /// error for it.
    ///
    /// # Errors
    /// Why the call failed as a whole; [`Error::certainty`] tells whether it may have been carried out.
    pub async fn act_some(
        &self,
        kind: &Kind,
        verb: Verb,
        ids: &Batch,
    ) -> Result<BTreeMap<TaskId, Result<(), String>>, Error> {
        let base = self.settled_base(kind).await?;
        let ids = ids.ids();
        let json = serde_json::Value::from(ids.iter().map(TaskId::as_str).collect::<Vec<_>>());
        let call =
            Call { json: Some(json.to_string()), ..self.action(base, kind, verb.some(), None) };
        let (mut errors, _) = self.call(&call, wire::outcomes).await?;
        Ok(ids
            .iter()
            .map(|id| {
                let outcome = match errors.remove(id.as_str()) {
                    None => Ok(()),
                    Some(error) => Err(self.words(&error)),
                };
                (id.clone(), outcome)
            })
            .collect())
    }

    /// Acts on a whole kind.
    ///
    /// # Errors
    /// Why it was not accepted; [`Error::certainty`] tells whether it may have been carried out.
    pub async fn act_kind(&self, kind: &Kind, verb: KindVerb) -> Result<(), Error> {
        let base = self.settled_base(kind).await?;
        self.call(&self.action(base, kind, verb.endpoint(), None), |_| Ok(())).await?;
        Ok(())
    }

    fn known_base(&self) -> Option<Base> {
        match self.base.load(Ordering::Relaxed) {
            1 => Some(Base::Modern),
            2 => Some(Base::Legacy),
            _ => None,
        }
    }

    fn remember_base(&self, base: Base) {
        self.base.store(if base == Base::Modern { 1 } else { 2 }, Ordering::Relaxed);
    }

    /// The base path, found out by a reading: an action is never sent on trial.
    async fn settled_base(&self, kind: &Kind) -> Result<Base, Error> {
        if let Some(base) = self.known_base() {
            return Ok(base);
        }
        let mut reader = Reader::default();
        reader.begin();
        self.read_undone(kind, &mut reader).await.map(|(base, _)| base)
    }

    async fn read_undone(&self, kind: &Kind, reader: &mut Reader) -> Result<(Base, Meta), Error> {
        let absent = |error: Error| match error {
            Error::Unexpected { at, status: 200..=299, oddity: Oddity::WebPage, .. } => {
                Error::KindAbsent { at, kind: kind.clone() }
            }
            error => error,
        };
        if let Some(base) = self.known_base() {
            return Ok((base, self.read_part(base, kind, "undone", reader).await.map_err(absent)?));
        }
        let (base, read) = match self.read_part(Base::Modern, kind, "undone", reader).await {
            Err(error) if is_not_there(&error) => {
                (Base::Legacy, self.read_part(Base::Legacy, kind, "undone", reader).await)
            }
            read => (Base::Modern, read),
        };
        let read = read.map_err(absent)?;
        self.remember_base(base);
        Ok((base, read))
    }

    async fn read_part(
        &self,
        base: Base,
        kind: &Kind,
        part: &str,
        reader: &mut Reader,
    ) -> Result<Meta, Error> {
        let action = self.action(base, kind, part, None);
        let call = Call { method: Method::GET, lists: true, ..action };
        let ((), meta) = self.call(&call, |envelope| reader.take(envelope)).await?;
        Ok(meta)
    }

    fn action<'a>(
        &self,
        base: Base,
        kind: &'a Kind,
        endpoint: &'a str,
        tid: Option<&'a TaskId>,
    ) -> Call<'a> {
        let mut segments = base.segments().to_vec();
        segments.extend([kind.as_str(), endpoint]);
        Call { method: Method::POST, segments, tid, json: None, limit: self.max_body, lists: false }
    }

    /// Makes a call as the user, with one new login if the token is refused. A 401 says that the server
    /// did nothing, so the same call may go out again.
    pub(super) async fn call<T>(
        &self,
        call: &Call<'_>,
        mut read: impl FnMut(&Envelope<'_>) -> Result<T, WireError>,
    ) -> Result<(T, Meta), Error> {
        let at = self.at(call);
        let mut rejected = None;
        loop {
            let pass = self.pass(&at, rejected).await?;
            let answer = self.exchange(&at, call, Some(&pass.token)).await?;
            let open = if call.lists { Envelope::open } else { Envelope::parse };
            let envelope = self.envelope(&at, &answer, open)?;
            if envelope.code == 401 {
                if rejected.is_some() {
                    let message = self.words(&envelope.message);
                    return Err(self.entry.refused_again(&at, pass.generation, &message));
                }
                rejected = Some(pass.generation);
                continue;
            }
            self.entry.accepted(pass.generation);
            self.check(&at, &answer, &envelope)?;
            let value = read(&envelope).map_err(|error| self.odd(&at, &answer, &error))?;
            return Ok((value, answer.meta()));
        }
    }

    /// Turns a code other than 200 into an error.
    fn check(&self, at: &At, answer: &Answer, envelope: &Envelope<'_>) -> Result<(), Error> {
        let at = at.clone();
        let message = self.words(&envelope.message);
        Err(match envelope.code {
            200 if answer.status.is_success() => return Ok(()),
            200 => self.unexpected(&at, answer, Oddity::HttpError),
            400 => Error::BadRequest { at, message },
            403 => Error::Forbidden { at, message },
            404 => Error::NotFound { at, message },
            429 => Error::Throttled { at, message },
            code => Error::Server { at, code, message },
        })
    }

    /// The token for a call; logs in if need be, one at a time, and who waited shares the outcome.
    async fn pass(&self, at: &At, rejected: Option<u64>) -> Result<Pass, Error> {
        if let Some(pass) = self.entry.static_pass(at, rejected) {
            return pass;
        }
        let ended = self.entry.ended();
        if let Some(held) = self.entry.held(rejected) {
            return Ok(held);
        }
        let _flight = self.entry.flight.lock().await;
        if let Some(held) = self.entry.held(rejected) {
            return Ok(held);
        }
        if let Some(failure) = self.entry.shared_failure(ended) {
            return Err(failure);
        }
        let credentials = self.entry.credentials()?;
        let code = self.entry.permit(&self.at(&login_call("hash", None)), &credentials)?;
        let (at, answer) = self.log_in(&credentials, code.as_deref()).await;
        self.entry.record(&at, &credentials, answer)
    }

    /// Sends a login: hashed, or plain where the server has no path for the hashed one.
    async fn log_in(
        &self,
        credentials: &Credentials,
        code: Option<&str>,
    ) -> (At, Result<LoginAnswer, Error>) {
        let hashed = login_call("hash", Some((credentials, &credentials.hashed, code)));
        let at = self.at(&hashed);
        match self.send_login(&at, &hashed).await {
            Err(error) if is_not_there(&error) => {}
            answer => return (at, answer),
        }
        let plain = login_call("", Some((credentials, &credentials.password, code)));
        let at = self.at(&plain);
        let answer = match self.send_login(&at, &plain).await {
            Err(Error::NotFound { message, .. }) => Ok(LoginAnswer::Refused { code: 404, message }),
            answer => answer,
        };
        (at, answer)
    }

    async fn send_login(&self, at: &At, call: &Call<'_>) -> Result<LoginAnswer, Error> {
        let answer = self.exchange(at, call, None).await?;
        let envelope = match self.envelope(at, &answer, Envelope::parse) {
            Err(_) if answer.status == StatusCode::TOO_MANY_REQUESTS => {
                return Ok(LoginAnswer::Locked);
            }
            envelope => envelope?,
        };
        match envelope.code {
            200 if answer.status.is_success() => envelope
                .token()
                // What cannot go into a header is no token.
                .filter(|token| HeaderValue::from_str(token).is_ok())
                .map(|token| LoginAnswer::Token(SecretString::from(token)))
                .ok_or_else(|| {
                    // Its words could be half a token: not shown.
                    let oddity = Oddity::Data("it has no `token`".to_owned());
                    let status = answer.status.as_u16();
                    Error::Unexpected { at: at.clone(), status, oddity, excerpt: String::new() }
                }),
            429 => Ok(LoginAnswer::Locked),
            200 | 404 | 500.. => {
                self.check(at, &answer, &envelope)?;
                Err(self.unexpected(at, &answer, Oddity::HttpError))
            }
            code => Ok(LoginAnswer::Refused { code, message: self.words(&envelope.message) }),
        }
    }

    fn url(&self, call: &Call<'_>) -> Url {
        let mut url = self.base_url.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(&call.segments);
        }
        if let Some(tid) = call.tid {
            url.query_pairs_mut().append_pair("tid", tid.as_str());
        }
        url
    }

    fn at(&self, call: &Call<'_>) -> At {
        At {
            server: self.server.clone(),
            endpoint: format!("{} {}", call.method, self.url(call).path()),
        }
    }

    /// Sends one request and takes the whole answer in.
    async fn exchange(
        &self,
        at: &At,
        call: &Call<'_>,
        token: Option<&SecretString>,
    ) -> Result<Answer, Error> {
        let mut request = self.http.request(call.method.clone(), self.url(call));
        // A token that no header can hold was turned down when it was read.
        if let Some(token) = token
            && let Ok(mut value) = HeaderValue::from_str(token.expose_secret())
        {
            value.set_sensitive(true);
            request = request.header(AUTHORIZATION, value);
        }
        if let Some(json) = &call.json {
            // Exactly so: with another type the servers do nothing and say 200 (CONTRACT.md, "Answers").
            request = request.header(CONTENT_TYPE, "application/json").body(json.clone());
        }
        let begun = ambient::monotonic();
        let mut response = request.send().await.map_err(|error| self.network(at, error))?;
        let roundtrip = ambient::monotonic().duration_since(begun);
        let status = response.status();
        let header = |headers: &HeaderMap, name| {
            headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
        };
        let html = header(response.headers(), CONTENT_TYPE)
            .is_some_and(|kind| kind.to_ascii_lowercase().starts_with("text/html"));
        let location = header(response.headers(), LOCATION);
        let date = header(response.headers(), DATE).and_then(|date| http_date(&date));
        let too_large = || Error::TooLarge { at: at.clone(), limit: call.limit };
        if response.content_length().is_some_and(|length| length > call.limit) {
            return Err(too_large());
        }
        let mut body = Vec::new();
        // Not more than is said to come: a body that grows by itself takes up to twice its room.
        let length = response.content_length().and_then(|length| usize::try_from(length).ok());
        body.reserve_exact(length.unwrap_or_default());
        while let Some(chunk) = response.chunk().await.map_err(|error| self.network(at, error))? {
            if (body.len() + chunk.len()) as u64 > call.limit {
                return Err(too_large());
            }
            body.extend_from_slice(&chunk);
        }
        let body = String::from_utf8(body)
            .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned());
        Ok(Answer { status, html, location, date, roundtrip, body })
    }

    fn network(&self, at: &At, error: reqwest::Error) -> Error {
        let at = at.clone();
        let connecting = error.is_connect();
        let cause = match (error.is_timeout(), connecting) {
            (true, true) => format!("no connection within {:?}", self.connect_timeout),
            (true, false) => format!("not within {:?}", self.request_timeout),
            (false, _) => self.words(&flatten(&error.without_url())),
        };
        if connecting { Error::Unreachable { at, cause } } else { Error::Lost { at, cause } }
    }

    fn envelope<'a>(
        &self,
        at: &At,
        answer: &'a Answer,
        open: impl Fn(&'a str) -> Result<Envelope<'a>, WireError>,
    ) -> Result<Envelope<'a>, Error> {
        if answer.status.is_redirection() {
            let location = answer.location.as_deref().unwrap_or("an unnamed place");
            let location = location.split(['?', '#']).next().unwrap_or_default();
            return Err(Error::Redirected {
                at: at.clone(),
                status: answer.status.as_u16(),
                location: self.words(&without_userinfo(location)),
            });
        }
        open(&answer.body).map_err(|error| self.odd(at, answer, &error))
    }

    fn odd(&self, at: &At, answer: &Answer, error: &WireError) -> Error {
        let body = answer.body.trim_start();
        let oddity = match error {
            WireError::Data(what) => Oddity::Data(what.clone()),
            _ if !answer.status.is_success() => Oddity::HttpError,
            _ if body.is_empty() => Oddity::Empty,
            _ if answer.html || body.starts_with('<') => Oddity::WebPage,
            WireError::Truncated => Oddity::Truncated,
            WireError::NotAnEnvelope => Oddity::NotAnEnvelope,
        };
        self.unexpected(at, answer, oddity)
    }

    fn unexpected(&self, at: &At, answer: &Answer, oddity: Oddity) -> Error {
        Error::Unexpected {
            at: at.clone(),
            status: answer.status.as_u16(),
            oddity,
            excerpt: self.excerpt(&answer.body),
        }
    }

    /// A text from outside as an error may show it.
    fn words(&self, text: &str) -> String {
        plain(&scrub(&self.entry.redact(text)))
    }

    /// The first words of a body.
    fn excerpt(&self, body: &str) -> String {
        // Enough for any page's head; cut before, since a body can be large.
        let head: String = body.chars().take(16 * 1024).collect();
        let text = self.words(&without_tags(&self.entry.redact(&head)));
        let mut short: String = text.chars().take(80).collect();
        if short.len() < text.len() {
            short.push('…');
        }
        short
    }
}

/// What an answer's head told.
#[derive(Clone, Copy, Debug)]
pub(super) struct Meta {
    date: Option<Timestamp>,
    roundtrip: Duration,
    bytes: u64,
}

impl Answer {
    fn meta(&self) -> Meta {
        Meta { date: self.date, roundtrip: self.roundtrip, bytes: self.body.len() as u64 }
    }
}

/// `POST /api/auth/login` or a path below it, with the body if there is one to send.
fn login_call<'a>(
    below: &'a str,
    send: Option<(&Credentials, &SecretString, Option<&str>)>,
) -> Call<'a> {
    let mut segments = vec!["api", "auth", "login"];
    segments.extend(Some(below).filter(|below| !below.is_empty()));
    let json = send.map(|(credentials, password, code)| {
        let mut body = serde_json::json!({
            "username": credentials.username,
            "password": password.expose_secret(),
        });
        if let Some(code) = code {
            body["otp_code"] = code.into();
        }
        body.to_string()
    });
    Call { method: Method::POST, segments, tid: None, json, limit: SMALL_BODY, lists: false }
}

/// Whether the server does not know the path: its web page, or an honest 404 or 405.
fn is_not_there(error: &Error) -> bool {
    match error {
        Error::Unexpected { status, oddity, .. } => {
            matches!(*status, 404 | 405) || (*oddity == Oddity::WebPage && *status < 300)
        }
        Error::NotFound { .. } => true,
        _ => false,
    }
}

/// Which product a server is: by the kinds that only one has, else by how it writes roles, else by its
/// version. Its title is whatever its owner made it.
fn flavour(
    candidates: &[Kind],
    kinds: &[Kind],
    role_form: RoleForm,
    version: Option<&str>,
) -> Flavour {
    let has = |kind| kinds.contains(&kind);
    let lacks = |kind| candidates.contains(&kind) && !kinds.contains(&kind);
    if has(Kind::Move) && lacks(Kind::S3Transition) {
        return Flavour::OpenList;
    }
    if has(Kind::S3Transition) && lacks(Kind::Move) || role_form == RoleForm::Array {
        return Flavour::AList;
    }
    match version.map(|version| version.trim_start_matches('v')) {
        Some(version) if version.starts_with("3.") => Flavour::AList,
        Some(version) if version.starts_with("4.") => Flavour::OpenList,
        _ => Flavour::Unknown,
    }
}

fn parse_base_url(text: &str) -> Result<Url, BuildError> {
    let fail = |why: &str| BuildError::Url { url: without_userinfo(text), why: why.to_owned() };
    let mut url = Url::parse(text.trim()).map_err(|error| {
        fail(&format!("is not an address ({error}); it looks like http://nas.example:5244"))
    })?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(fail("must begin with http:// or https://"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(fail(
            "must not hold user or password: use `token`, or `username` and `password`",
        ));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(fail("must not have a `?` or `#` part"));
    }
    let path = url.path().trim_end_matches('/');
    let path = path.strip_suffix("/api").unwrap_or(path).trim_end_matches('/').to_owned();
    url.set_path(&path);
    Ok(url)
}

fn build_http(settings: &ClientSettings, base_url: &Url) -> Result<reqwest::Client, BuildError> {
    let mut authorities = Vec::new();
    if let Some(path) = &settings.ca_file {
        let fail = |why: String| BuildError::CaFile { path: path.clone(), why };
        let pem = std::fs::read(path).map_err(|error| fail(format!("cannot be read: {error}")))?;
        authorities = reqwest::Certificate::from_pem_bundle(&pem)
            .map_err(|error| fail(format!("is not PEM: {}", flatten(&error))))?;
        if authorities.is_empty() {
            return Err(fail("holds no certificate".to_owned()));
        }
    }
    let builder = {
        let builder = ambient::http_client_builder()
            .user_agent(USER_AGENT)
            .connect_timeout(settings.connect_timeout)
            .timeout(settings.request_timeout)
            .pool_idle_timeout(IDLE)
            // A redirected POST becomes a GET, which the servers answer with a web page.
            .redirect(reqwest::redirect::Policy::none())
            // One call is one request: what is sent again is for the caller to decide.
            .retry(reqwest::retry::never())
            .referer(false);
        // No proxy can reach this machine's own loopback, and the variables seldom except it.
        if is_loopback(base_url) { builder.no_proxy() } else { builder }
    };
    // Reading the system's root certificates takes longer than all else at a start, and there may be
    // none; in clear they are only needed on the way to a proxy.
    let in_clear = base_url.scheme() == "http" && settings.ca_file.is_none();
    let builder = if in_clear && (is_loopback(base_url) || !ambient::proxy_over_tls()) {
        builder.tls_certs_only([])
    } else {
        builder.tls_certs_merge(authorities)
    };
    builder.build().map_err(|error| BuildError::Tls(flatten(&error)))
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || address.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn http_date(text: &str) -> Option<Timestamp> {
    let zoned = jiff::fmt::rfc2822::DateTimeParser::new().parse_zoned(text).ok()?;
    Some(zoned.timestamp())
}

/// An error and its causes in one line, without those that only say again what stands already.
fn flatten(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let words = cause.to_string();
        if !text.contains(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        next = cause.source();
    }
    text
}

/// An address without `user:password@`, also where it is too broken to be parsed.
fn without_userinfo(text: &str) -> String {
    let start = text.find("//").map_or(0, |at| at + 2);
    let end = text[start..].find(['/', '?', '#']).map_or(text.len(), |at| start + at);
    match text[start..end].rfind('@') {
        Some(at) => format!("{}{}", &text[..start], &text[start + at + 1..]),
        None => text.to_owned(),
    }
}

/// One line: every control character and run of blanks is one blank.
fn plain(text: &str) -> String {
    text.split(|letter: char| letter.is_whitespace() || letter.is_control())
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}

/// The words of a web page; of anything else, the text itself.
fn without_tags(text: &str) -> String {
    if !text.trim_start().starts_with('<') {
        return text.to_owned();
    }
    let mut words = String::new();
    let mut rest = text;
    while let Some((before, tag)) = rest.split_once('<') {
        words.push_str(before);
        words.push(' ');
        let name = tag.get(..6).unwrap_or_default().to_ascii_lowercase();
        let end = match name.as_str() {
            "script" => "</script",
            _ if name.starts_with("style") => "</style",
            _ => "",
        };
        let tag = tag.find(end).map_or("", |at| &tag[at..]);
        rest = tag.split_once('>').map_or("", |(_, rest)| rest);
    }
    words.push_str(rest);
    if words.trim().is_empty() { text.to_owned() } else { words }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_cleaned_or_refused() {
        for (text, url) in [
            ("http://127.0.0.1:5244", "http://127.0.0.1:5244/"),
            ("http://127.0.0.1:5244/", "http://127.0.0.1:5244/"),
            ("https://nas.example/list/", "https://nas.example/list"),
            ("https://nas.example/list/api/", "https://nas.example/list"),
            ("https://nas.example/api", "https://nas.example/"),
            (" https://nas.example/a/b ", "https://nas.example/a/b"),
        ] {
            assert_eq!(parse_base_url(text).unwrap().as_str(), url, "{text}");
        }
        for (text, why) in [
            ("nas:5244", "begin with http"),
            ("nas", "not an address"),
            ("ftp://nas", "begin with http"),
            ("http://", "not an address"),
            ("http://admin:hunter22@nas:5244", "`username`"),
            ("http://nas/?x=1", "`?`"),
            ("http://nas/#/@manage", "`#`"),
        ] {
            let error = parse_base_url(text).unwrap_err().to_string();
            assert!(error.contains(why) && !error.contains("hunter22"), "{text}: {error}");
        }
        assert_eq!(without_userinfo("http://a:b@c/d@e"), "http://c/d@e");
        assert_eq!(without_userinfo("a:b@c"), "c");
    }

    #[test]
    fn batches_are_neither_empty_nor_long_nor_double() {
        let ids = |count: usize| (0..count).map(|n| TaskId::new(n.to_string())).collect::<Vec<_>>();
        assert_eq!(Batch::new(ids(0)), Err(BatchError::Empty));
        assert!(Batch::new(ids(1)).is_ok());
        assert!(Batch::new(ids(100)).is_ok());
        assert_eq!(Batch::new(ids(101)), Err(BatchError::TooMany(101)));
        let double = vec!["b".into(), "a".into(), "b".into()];
        assert_eq!(Batch::new(double), Err(BatchError::Twice("b".into())));
    }

    #[test]
    fn flavours_are_told_apart() {
        let all = &Kind::KNOWN[..];
        let few = &[Kind::Copy][..];
        for (candidates, kinds, roles, version, flavour_) in [
            (all, &[Kind::Copy, Kind::Move][..], RoleForm::None, None, Flavour::OpenList),
            (all, &[Kind::Copy, Kind::S3Transition], RoleForm::None, None, Flavour::AList),
            (few, few, RoleForm::Array, Some("v4.0"), Flavour::AList),
            (few, few, RoleForm::Number, Some("v3.39.1"), Flavour::AList),
            (few, few, RoleForm::None, Some("v4.1.0 (Commit: x)"), Flavour::OpenList),
            (few, few, RoleForm::Number, Some("dev"), Flavour::Unknown),
            (all, few, RoleForm::Number, None, Flavour::Unknown),
            (&[Kind::Move], &[Kind::Move], RoleForm::None, None, Flavour::Unknown),
        ] {
            assert_eq!(
                flavour(candidates, kinds, roles, version),
                flavour_,
                "{kinds:?} {version:?}"
            );
        }
    }

    #[test]
    fn the_words_of_a_page_are_found() {
        for (text, words) in [
            ("<html><head><title>502 Bad Gateway</title></head></html>", "502 Bad Gateway"),
            ("<!DOCTYPE html><style>a{b:c}</style><script>if (a<b) {}</script><p>hi</p>", "hi"),
            ("plain\x1b[31m text", "plain [31m text"),
            ("<html><body></body></html>", "<html><body></body></html>"),
            ("<unclosed", "<unclosed"),
            ("<é", "<é"),
        ] {
            assert_eq!(plain(&without_tags(text)), words, "{text}");
        }
    }

    #[test]
    fn dates_of_headers_are_read() {
        let date = http_date("Mon, 23 Nov 2026 19:32:58 GMT").unwrap();
        assert_eq!(date.to_string(), "2026-11-23T19:32:58Z");
        assert!(http_date("soon").is_none());
    }

    #[test]
    fn loopback_is_known() {
        for (text, expected) in [
            ("http://127.0.0.1:5244", true),
            ("http://127.9.9.9", true),
            ("http://[::1]:5244", true),
            ("http://LocalHost", true),
            ("http://192.168.1.2", false),
            ("http://nas.example", false),
        ] {
            assert_eq!(is_loopback(&Url::parse(text).unwrap()), expected, "{text}");
        }
    }
}
