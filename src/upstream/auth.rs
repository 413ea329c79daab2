//! Secrets, and when a login may be tried.
//!
//! Knows no HTTP: it says what to send and is told what came. A server counts wrong logins for ever
//! and locks the address at the fifth (CONTRACT.md, "Answers"), so refused logins are counted here
//! too, and the count outlives the daemon through [`LoginMemory`].

use std::fmt;
use std::io::Read;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::{SignedDuration, Timestamp};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::error::{At, Error};
use crate::ambient::Clock;
use crate::engine::task::ServerName;

/// The largest secret file that is read, in bytes: more is surely the wrong file.
const SECRET_FILE_MAX: u64 = 64 * 1024;
/// Refused logins since the last success after which none is tried again by itself.
const REFUSALS_ALONE: u32 = 3;
/// Refused logins since the last success after which even other credentials need a person's word: one
/// more can be the fifth, which locks the address.
const REFUSALS_EVER: u32 = 4;

const REFUSED_FIRST: SignedDuration = SignedDuration::from_mins(15);
const REFUSED_MAX: SignedDuration = SignedDuration::from_hours(24);
const LOCKED_FIRST: SignedDuration = SignedDuration::from_mins(5);
const LOCKED_MAX: SignedDuration = SignedDuration::from_hours(1);
// A static token that is tried in vain is not counted by the servers, unlike a login.
const PROBE_FIRST: SignedDuration = SignedDuration::from_secs(15);
const PROBE_MAX: SignedDuration = SignedDuration::from_mins(10);
const LOGIN_AGAIN_FIRST: SignedDuration = SignedDuration::from_mins(1);
const LOGIN_AGAIN_MAX: SignedDuration = SignedDuration::from_hours(1);

/// Length and period of the codes that the servers take (RFC 6238 with its defaults).
const TOTP_STEP_SECONDS: u64 = 30;

/// Where a secret comes from. Read anew for each login and after each refusal, so that a corrected file
/// needs no restart.
#[derive(Clone, Debug)]
pub enum SecretSource {
    /// An environment variable.
    Env(String),
    /// A file of at most 64 KiB; line ends at its end are cut off.
    File(PathBuf),
    /// A credential that systemd hands the service: a file of this name in its folder.
    Credential(String),
    /// The secret itself; for tests and demonstrations.
    Literal(SecretString),
}

/// Why a secret cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// The variable does not exist.
    #[error(
        "the environment variable {0} is not set: set it where the daemon starts, or name a file"
    )]
    Unset(String),
    /// The file cannot be read.
    #[error("the secret file {} cannot be read: {why}", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        why: String,
    },
    /// No service manager hands credentials over.
    #[error(
        "the credential {0} is not there: it comes with `LoadCredential={0}:PATH` in the unit of a systemd service"
    )]
    NoCredentials(String),
    /// There is nothing in it.
    #[error("{0} is empty: put the secret there")]
    Empty(String),
    /// It is no text, or has characters that a token cannot have.
    #[error("{0} holds something that cannot be the secret: {1}")]
    Unusable(String, &'static str),
}

impl SecretSource {
    /// Reads the secret.
    ///
    /// # Errors
    /// If the variable or file is missing, empty, too large or no text.
    pub fn read(&self) -> Result<SecretString, SecretError> {
        let text = match self {
            Self::Env(name) => std::env::var(name).map_err(|error| match error {
                std::env::VarError::NotPresent => SecretError::Unset(name.clone()),
                std::env::VarError::NotUnicode(_) => {
                    SecretError::Unusable(self.to_string(), "it is not UTF-8")
                }
            })?,
            Self::File(path) => self.read_file(path)?,
            Self::Credential(name) => {
                let folder = std::env::var_os("CREDENTIALS_DIRECTORY")
                    .ok_or_else(|| SecretError::NoCredentials(name.clone()))?;
                self.read_file(&PathBuf::from(folder).join(name))?
            }
            Self::Literal(secret) => secret.expose_secret().to_owned(),
        };
        let trimmed = text.trim_end_matches(['\r', '\n']);
        if trimmed.is_empty() {
            return Err(SecretError::Empty(self.to_string()));
        }
        Ok(SecretString::from(trimmed))
    }

    fn read_file(&self, path: &PathBuf) -> Result<String, SecretError> {
        let unreadable = |why: String| SecretError::Unreadable { path: path.clone(), why };
        // A pipe would hold the daemon up, and could not be read a second time.
        let about = std::fs::metadata(path).map_err(|error| unreadable(error.to_string()))?;
        if !about.is_file() {
            return Err(unreadable("it is not a regular file".to_owned()));
        }
        let mut bytes = Vec::new();
        std::fs::File::open(path)
            .and_then(|file| file.take(SECRET_FILE_MAX + 1).read_to_end(&mut bytes))
            .map_err(|error| unreadable(error.to_string()))?;
        if bytes.len() as u64 > SECRET_FILE_MAX {
            return Err(unreadable("it is larger than 64 KiB".to_owned()));
        }
        String::from_utf8(bytes)
            .map_err(|_| SecretError::Unusable(self.to_string(), "it is not UTF-8"))
    }
}

impl fmt::Display for SecretSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env(name) => write!(f, "the environment variable {name}"),
            Self::File(path) => write!(f, "the secret file {}", path.display()),
            Self::Credential(name) => write!(f, "the credential {name}"),
            Self::Literal(_) => f.write_str("the given secret"),
        }
    }
}

/// How to get in.
#[derive(Clone, Debug)]
pub enum Auth {
    /// The server's static admin token, or any other that is looked after elsewhere.
    Token(SecretSource),
    /// A user's name and password.
    Password {
        /// The user.
        username: String,
        /// The password.
        password: SecretSource,
        /// The account's TOTP secret (base32 or an `otpauth://` address), where it has two factors.
        totp: Option<SecretSource>,
    },
}

impl Auth {
    /// Looks whether the environment variables and credentials it names are there: a file may still
    /// come, a variable will not.
    ///
    /// # Errors
    /// The first that is missing or empty.
    pub fn check_variables(&self) -> Result<(), SecretError> {
        let sources = match self {
            Self::Token(token) => vec![token],
            Self::Password { password, totp, .. } => {
                [Some(password), totp.as_ref()].into_iter().flatten().collect()
            }
        };
        let mut variables = sources
            .into_iter()
            .filter(|source| matches!(source, SecretSource::Env(_) | SecretSource::Credential(_)));
        variables.try_for_each(|variable| variable.read().map(drop))
    }
}

/// What must be remembered of refused logins over a restart, so that a daemon that is started again
/// and again does not lock the address. Holds no secret: of the credentials only 16 bits of a hash,
/// enough to see that they changed and too little to find them by.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LoginMemory {
    credentials: Option<u16>,
    refused: u32,
    not_before: Option<Timestamp>,
    locked: u32,
    locked_until: Option<Timestamp>,
}

impl LoginMemory {
    /// How many logins were refused since the last one that was not.
    #[must_use]
    pub fn refused(&self) -> u32 {
        self.refused
    }
}

/// What a JWT says of itself. It is read without a look at its signature, which only the server can
/// check: for telling people, never for deciding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenClaims {
    /// When it ends; `None` if it does not say.
    pub expires: Option<Timestamp>,
}

impl TokenClaims {
    /// The claims of a token; `None` if it is no JWT, as the static token of a server is none.
    fn of(token: &str) -> Option<Self> {
        let mut parts = token.split('.');
        let (_, claims, _) = (parts.next()?, parts.next()?, parts.next()?);
        let claims: serde_json::Value = serde_json::from_slice(&base64url(claims)?).ok()?;
        let seconds = claims.as_object()?.get("exp").and_then(serde_json::Value::as_i64);
        Some(Self { expires: seconds.and_then(|seconds| Timestamp::from_second(seconds).ok()) })
    }
}

/// Decodes base64 in the alphabet for URLs, with or without padding.
fn base64url(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let (mut word, mut bits) = (0_u32, 0);
    for letter in text.trim_end_matches('=').bytes() {
        let sextet = match letter {
            b'A'..=b'Z' => letter - b'A',
            b'a'..=b'z' => letter - b'a' + 26,
            b'0'..=b'9' => letter - b'0' + 52,
            b'-' => 62,
            b'_' => 63,
            _ => return None,
        };
        word = (word << 6 | u32::from(sextet)) & 0xffff;
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push(u8::try_from(word >> bits & 0xff).ok()?);
        }
    }
    Some(bytes)
}

/// A token, and which one in the row it is.
#[derive(Clone, Debug)]
pub(super) struct Pass {
    pub(super) token: SecretString,
    pub(super) generation: u64,
}

/// What a login sends.
#[derive(Debug)]
pub(super) struct Credentials {
    pub(super) username: String,
    pub(super) password: SecretString,
    /// What goes in place of the password, so that the clear one does not travel.
    pub(super) hashed: SecretString,
    totp: Option<SecretString>,
    fingerprint: u16,
}

/// What a login's answer said.
#[derive(Debug)]
pub(super) enum LoginAnswer {
    Token(SecretString),
    /// Codes 400, 401, 402, 403 and the like; the server counted it.
    Refused {
        code: i64,
        message: String,
    },
    /// Code 429.
    Locked,
}

/// A token that a server refused although nothing is known to be wrong with it.
#[derive(Debug)]
struct Probe {
    count: u32,
    until: Timestamp,
    reason: String,
}

#[derive(Debug, Default)]
struct State {
    held: Option<Pass>,
    generations: u64,
    memory: LoginMemory,
    /// Why the last login was refused.
    reason: String,
    probe: Option<Probe>,
    /// A person asked for a try since the last one.
    asked: bool,
    /// Logins that ended, so that who waited for one can share its end.
    ended: u64,
    failure: Option<Error>,
    totp_step: Option<u64>,
    /// Secrets that were lately in use; none of them may show in an error.
    known: Vec<SecretString>,
}

impl State {
    fn hold(&mut self, token: SecretString) -> Pass {
        self.generations += 1;
        let pass = Pass { token, generation: self.generations };
        self.know(pass.token.clone());
        self.held = Some(pass.clone());
        pass
    }

    fn know(&mut self, secret: SecretString) {
        if self.known.iter().any(|known| known.expose_secret() == secret.expose_secret()) {
            return;
        }
        if self.known.len() >= 8 {
            self.known.remove(0);
        }
        self.known.push(secret);
    }

    /// What to say when no further login is tried.
    fn last_word(&self) -> String {
        let reason = if self.reason.is_empty() { "login refused" } else { &self.reason };
        let next = if self.memory.refused >= REFUSALS_EVER {
            "log in once from this machine in a browser or restart the server, then correct the \
             credentials and reload"
        } else {
            "correct the credentials, or the account and reload"
        };
        format!(
            "{reason}; {} logins were refused since the last success, and a server locks the \
             address at five: {next}",
            self.memory.refused
        )
    }

    /// Puts the next probe off, longer each time.
    fn put_off(
        &mut self,
        now: Timestamp,
        (first, max): (SignedDuration, SignedDuration),
        reason: String,
    ) -> Timestamp {
        let count = self.probe.as_ref().map_or(0, |probe| probe.count);
        let until = after(now, first, count, max);
        self.probe = Some(Probe { count: count + 1, until, reason });
        until
    }
}

/// The moment `first * 2^doublings` from `now`, at most `max` from it.
fn after(now: Timestamp, first: SignedDuration, doublings: u32, max: SignedDuration) -> Timestamp {
    let wait = 2_i32
        .checked_pow(doublings)
        .and_then(|factor| first.checked_mul(factor))
        .map_or(max, |wait| wait.min(max));
    now.checked_add(wait).unwrap_or(Timestamp::MAX)
}

/// Whether `until` is still to come. A moment further off than any wait was set by a clock that has
/// since been put back: it counts from now.
fn pending(
    until: &mut Option<Timestamp>,
    now: Timestamp,
    max: SignedDuration,
) -> Option<Timestamp> {
    let latest = now.checked_add(max).unwrap_or(Timestamp::MAX);
    *until = until.map(|until| until.min(latest));
    until.filter(|until| now < *until)
}

/// The right of entry to one server.
pub(super) struct Entry {
    server: ServerName,
    auth: Auth,
    clock: Clock,
    state: Mutex<State>,
    /// Held over a login, so that there is one at a time.
    pub(super) flight: tokio::sync::Mutex<()>,
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry").field("auth", &self.auth).finish_non_exhaustive()
    }
}

impl Entry {
    pub(super) fn new(server: ServerName, auth: Auth, clock: Clock) -> Self {
        Self { server, auth, clock, state: Mutex::default(), flight: tokio::sync::Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn secret_error(&self, source: SecretError) -> Error {
        Error::Secret { server: self.server.clone(), source }
    }

    pub(super) fn memory(&self) -> LoginMemory {
        self.state().memory.clone()
    }

    /// What the token that is held says of itself.
    pub(super) fn claims(&self) -> Option<TokenClaims> {
        TokenClaims::of(self.state().held.as_ref()?.token.expose_secret())
    }

    pub(super) fn restore(&self, memory: LoginMemory) {
        self.state().memory = memory;
    }

    pub(super) fn ask(&self) {
        let mut state = self.state();
        state.asked = true;
        state.probe = None;
    }

    /// Takes every secret lately in use out of a text from outside.
    pub(super) fn redact(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for secret in &self.state().known {
            let secret = secret.expose_secret();
            // A shorter one would be cut out of the middle of words.
            if secret.len() >= 4 && text.contains(secret) {
                text = text.replace(secret, "***");
            }
        }
        text
    }

    /// The static token, if that is the way in; `rejected` is the generation that was just refused,
    /// which is tried once more, since a server that starts or a proxy may refuse it by mistake.
    pub(super) fn static_pass(
        &self,
        at: &At,
        rejected: Option<u64>,
    ) -> Option<Result<Pass, Error>> {
        let Auth::Token(source) = &self.auth else { return None };
        Some(self.static_token(source, at, rejected))
    }

    fn static_token(
        &self,
        source: &SecretSource,
        at: &At,
        rejected: Option<u64>,
    ) -> Result<Pass, Error> {
        let now = self.clock.now();
        let mut state = self.state();
        if let Some(held) = &state.held
            && state.probe.is_none()
            && rejected.is_none_or(|generation| generation < held.generation)
        {
            return Ok(held.clone());
        }
        let token = source.read().and_then(|token| usable_token(source, &token));
        let token = token.map_err(|error| self.secret_error(error))?;
        let held = match &state.held {
            Some(held) if held.token.expose_secret() == token.expose_secret() => held.clone(),
            _ => {
                state.probe = None;
                return Ok(state.hold(token));
            }
        };
        match &state.probe {
            Some(probe) if now < probe.until => Err(Error::AuthRefused {
                at: at.clone(),
                reason: probe.reason.clone(),
                until: Some(probe.until),
            }),
            _ => Ok(held),
        }
    }

    /// The token of the last login, unless it is the one that was just refused.
    pub(super) fn held(&self, rejected: Option<u64>) -> Option<Pass> {
        let mut state = self.state();
        if let (Some(held), Some(rejected)) = (&state.held, rejected)
            && held.generation <= rejected
        {
            state.held = None;
        }
        state.held.clone()
    }

    /// How many logins have ended so far.
    pub(super) fn ended(&self) -> u64 {
        self.state().ended
    }

    /// The failure of a login that ended after `seen` had.
    pub(super) fn shared_failure(&self, seen: u64) -> Option<Error> {
        let state = self.state();
        if state.ended == seen { None } else { state.failure.clone() }
    }

    /// Reads what a login sends.
    pub(super) fn credentials(&self) -> Result<Credentials, Error> {
        let Auth::Password { username, password, totp } = &self.auth else {
            return Err(self.secret_error(SecretError::Empty("the password".to_owned())));
        };
        let read = |source: &SecretSource| source.read().map_err(|error| self.secret_error(error));
        let password = read(password)?;
        let totp = totp.as_ref().map(read).transpose()?;
        let hashed = SecretString::from(hex(&Sha256::digest(format!(
            "{}-https://github.com/alist-org/alist",
            password.expose_secret()
        ))));
        let fingerprint = fingerprint(&[
            self.server.as_str(),
            username,
            password.expose_secret(),
            totp.as_ref().map_or("", |totp| totp.expose_secret()),
        ]);
        let mut state = self.state();
        state.know(password.clone());
        state.know(hashed.clone());
        if let Some(totp) = &totp {
            state.know(totp.clone());
        }
        Ok(Credentials { username: username.clone(), password, hashed, totp, fingerprint })
    }

    /// Whether a login may be tried now with these credentials; answers the one-time code for it.
    pub(super) fn permit(
        &self,
        at: &At,
        credentials: &Credentials,
    ) -> Result<Option<String>, Error> {
        let now = self.clock.now();
        let mut state = self.state();
        if let Some(until) = pending(&mut state.memory.locked_until, now, LOCKED_MAX) {
            return Err(Error::LoginLocked { at: at.clone(), until });
        }
        let refused =
            |reason: String, until| Err(Error::AuthRefused { at: at.clone(), reason, until });
        if let Some(probe) = state.probe.as_ref().filter(|probe| now < probe.until) {
            return refused(probe.reason.clone(), Some(probe.until));
        }
        let changed = state.memory.credentials != Some(credentials.fingerprint);
        let count = state.memory.refused;
        if count >= REFUSALS_EVER && !(changed && state.asked)
            || count >= REFUSALS_ALONE && !changed && !state.asked
        {
            return refused(state.last_word(), None);
        }
        let until = pending(&mut state.memory.not_before, now, REFUSED_MAX);
        if count > 0
            && !changed
            && !state.asked
            && let Some(until) = until
        {
            return refused(state.reason.clone(), Some(until));
        }
        let code = credentials.totp.as_ref().map(|secret| self.code(&mut state, at, secret, now));
        let code = code.transpose()?;
        state.asked = false;
        Ok(code)
    }

    fn code(
        &self,
        state: &mut State,
        at: &At,
        secret: &SecretString,
        now: Timestamp,
    ) -> Result<String, Error> {
        let totp = totp(secret.expose_secret()).ok_or_else(|| {
            self.secret_error(SecretError::Unusable(
                "the TOTP secret".to_owned(),
                "it is neither base32 nor an otpauth:// address with a secret",
            ))
        })?;
        let seconds = u64::try_from(now.as_second()).unwrap_or(0);
        let step = seconds / TOTP_STEP_SECONDS;
        if state.totp_step.is_some_and(|used| used >= step) {
            let next = i64::try_from((step + 1) * TOTP_STEP_SECONDS).unwrap_or(i64::MAX);
            return Err(Error::AuthRefused {
                at: at.clone(),
                reason: "the one-time code of this half minute was used already".to_owned(),
                until: Some(Timestamp::from_second(next).unwrap_or(Timestamp::MAX)),
            });
        }
        state.totp_step = Some(step);
        Ok(totp.generate(seconds).to_string())
    }

    /// Takes in how a login ended. An answer that was lost counts as no try.
    pub(super) fn record(
        &self,
        at: &At,
        credentials: &Credentials,
        answer: Result<LoginAnswer, Error>,
    ) -> Result<Pass, Error> {
        let now = self.clock.now();
        let mut state = self.state();
        state.ended += 1;
        let result = match answer {
            Ok(LoginAnswer::Token(token)) => {
                state.memory = LoginMemory::default();
                state.reason.clear();
                Ok(state.hold(token))
            }
            Ok(LoginAnswer::Refused { code, message }) => {
                let count = state.memory.refused.saturating_add(1);
                state.memory.refused = count;
                state.memory.credentials = Some(credentials.fingerprint);
                let until = after(now, REFUSED_FIRST, count - 1, REFUSED_MAX);
                state.memory.not_before = Some(until);
                state.reason = refusal(code, &message, credentials.totp.is_some());
                Err(if count >= REFUSALS_ALONE {
                    let reason = state.last_word();
                    Error::AuthRefused { at: at.clone(), reason, until: None }
                } else {
                    let reason = state.reason.clone();
                    Error::AuthRefused { at: at.clone(), reason, until: Some(until) }
                })
            }
            Ok(LoginAnswer::Locked) => {
                let until = after(now, LOCKED_FIRST, state.memory.locked, LOCKED_MAX);
                state.memory.locked = state.memory.locked.saturating_add(1);
                state.memory.locked_until = Some(until);
                Err(Error::LoginLocked { at: at.clone(), until })
            }
            Err(error) => Err(error),
        };
        state.failure = result.as_ref().err().cloned();
        result
    }

    /// A token was good for a call.
    pub(super) fn accepted(&self, generation: u64) {
        let mut state = self.state();
        if state.held.as_ref().is_some_and(|held| held.generation == generation) {
            state.probe = None;
        }
    }

    /// A token is refused for the second time in a row, or one that was got a moment ago: another try
    /// would fare no better.
    pub(super) fn refused_again(&self, at: &At, generation: u64, message: &str) -> Error {
        let mut state = self.state();
        if state.held.as_ref().is_some_and(|held| held.generation == generation)
            && matches!(self.auth, Auth::Password { .. })
        {
            state.held = None;
        }
        let (waits, reason) = match &self.auth {
            Auth::Token(source) => (
                (PROBE_FIRST, PROBE_MAX),
                format!(
                    "the token from {source} is refused (401): copy the server's token again, \
                     without a `Bearer` before it"
                ),
            ),
            Auth::Password { .. } => (
                (LOGIN_AGAIN_FIRST, LOGIN_AGAIN_MAX),
                format!("a new token is refused as well (401): {message}"),
            ),
        };
        let until = state.put_off(self.clock.now(), waits, reason.clone());
        Error::AuthRefused { at: at.clone(), reason, until: Some(until) }
    }
}

fn refusal(code: i64, message: &str, has_totp: bool) -> String {
    if code == 402 && !has_totp {
        return format!(
            "login refused ({code}): {message}: the account has two factors, give its TOTP secret"
        );
    }
    let check = if has_totp {
        "check user name, password, TOTP secret and this machine's clock"
    } else {
        "check user name and password"
    };
    format!("login refused ({code}): {message}: {check}")
}

/// The token as it goes into the header.
fn usable_token(source: &SecretSource, token: &SecretString) -> Result<SecretString, SecretError> {
    let text = token.expose_secret().trim();
    // Pasted from a header, mostly; the servers refuse it (CONTRACT.md, "Requests").
    let text = match text.split_at_checked("Bearer ".len()) {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("Bearer ") => rest.trim_start(),
        _ => text,
    };
    if text.is_empty() {
        return Err(SecretError::Empty(source.to_string()));
    }
    if !text.bytes().all(|byte| (0x21..0x7f).contains(&byte)) {
        let why = "a token is one word without blanks";
        return Err(SecretError::Unusable(source.to_string(), why));
    }
    Ok(SecretString::from(text))
}

/// Six digits, thirty seconds, SHA-1, from a secret as sites and authenticators show it.
fn totp(secret: &str) -> Option<totp_rs::Totp> {
    let secret = secret.trim();
    let secret = if secret.starts_with("otpauth://") {
        let url = reqwest::Url::parse(secret).ok()?;
        url.query_pairs().find(|(name, _)| name == "secret")?.1.into_owned()
    } else {
        secret.to_owned()
    };
    let secret: String = secret
        .chars()
        .filter(|letter| !letter.is_whitespace() && !matches!(letter, '-' | '='))
        .map(|letter| letter.to_ascii_uppercase())
        .collect();
    let secret = totp_rs::Secret::try_from_base32(&secret).ok()?;
    (!secret.as_bytes().is_empty())
        .then(|| totp_rs::Builder::new().with_secret(secret).build_noncompliant())
}

fn fingerprint(parts: &[&str]) -> u16 {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part.len().to_be_bytes());
        hash.update(part);
    }
    let hash = hash.finalize();
    u16::from_be_bytes([hash[0], hash[1]])
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_are_read_from_a_jwt_and_from_nothing_else() {
        let claims = |token: &str| TokenClaims::of(token).map(|claims| claims.expires);
        let moment = Timestamp::from_second(1_600_000_000).unwrap();
        // {"exp":1600000000}, {"exp": 1600000000, "username": "?>é"} and {}
        assert_eq!(claims("h.eyJleHAiOjE2MDAwMDAwMDB9.s"), Some(Some(moment)));
        assert_eq!(claims("h.eyJleHAiOjE2MDAwMDAwMDB9==.s"), Some(Some(moment)));
        let odd = "h.eyJleHAiOiAxNjAwMDAwMDAwLCAidXNlcm5hbWUiOiAiPz7DqSJ9.s";
        assert_eq!(claims(odd), Some(Some(moment)));
        assert_eq!(claims("h.e30.s"), Some(None));
        for none in ["", "alist-0123", "a.b", "a.b.c", "a.!.c", "a.W10.c", "a.é.c"] {
            assert_eq!(claims(none), None, "{none}");
        }
        assert_eq!(base64url("_-8").as_deref(), Some(&[0xff, 0xef][..]));
    }

    #[test]
    fn the_codes_are_those_of_the_rfc() {
        // RFC 6238, appendix B, cut to six digits.
        let secret = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";
        for (time, code) in [
            (59, "287082"),
            (1_111_111_109, "081804"),
            (1_111_111_111, "050471"),
            (1_234_567_890, "005924"),
            (2_000_000_000, "279037"),
            (20_000_000_000, "353130"),
        ] {
            assert_eq!(totp(secret).unwrap().generate(time).to_string(), code);
        }
        for same in [
            "gezd gnbv gy3t qojq gezd gnbv gy3t qojq",
            "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ====",
            "otpauth://totp/OpenList:admin?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&issuer=OpenList",
        ] {
            assert_eq!(totp(same).unwrap().generate(59).to_string(), "287082", "{same}");
        }
        for bad in ["", "not base32!", "otpauth://totp/x?issuer=y", "===="] {
            assert!(totp(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn the_password_is_hashed_as_the_servers_do() {
        let auth = Auth::Password {
            username: "admin".to_owned(),
            password: SecretSource::Literal("testpass".into()),
            totp: None,
        };
        let entry = Entry::new("home".into(), auth, Clock::system());
        let expected = Sha256::digest(b"testpass-https://github.com/alist-org/alist");
        assert_eq!(entry.credentials().unwrap().hashed.expose_secret(), hex(&expected));
        assert_eq!(hex(&[0, 10, 255]), "000aff");
    }

    #[test]
    fn tokens_are_cleaned_or_refused() {
        let source = SecretSource::Literal("x".into());
        let clean = |text: &str| {
            usable_token(&source, &text.into()).map(|token| token.expose_secret().to_owned())
        };
        assert_eq!(clean("openlist-abc").unwrap(), "openlist-abc");
        assert_eq!(clean(" bearer openlist-abc ").unwrap(), "openlist-abc");
        for bad in ["a b", "Bearer a b", "tökén", "a\nb", "  "] {
            assert!(clean(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn secrets_come_from_files_and_variables() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        let source = SecretSource::File(path.clone());
        assert!(matches!(source.read(), Err(SecretError::Unreadable { .. })));
        std::fs::write(&path, " with blanks \r\n").unwrap();
        assert_eq!(source.read().unwrap().expose_secret(), " with blanks ");
        std::fs::write(&path, "\n").unwrap();
        assert!(matches!(source.read(), Err(SecretError::Empty(_))));
        std::fs::write(&path, [0xff]).unwrap();
        assert!(matches!(source.read(), Err(SecretError::Unusable(..))));
        std::fs::write(&path, vec![b'x'; 64 * 1024 + 1]).unwrap();
        assert!(matches!(source.read(), Err(SecretError::Unreadable { .. })));
        let pipe = SecretSource::File(folder.path().to_owned());
        assert!(pipe.read().unwrap_err().to_string().contains("not a regular file"));
        assert!(SecretSource::Env("CARGO_MANIFEST_DIR".into()).read().is_ok());
        let unset = SecretSource::Env("TASKWARDEN_NO_SUCH_VARIABLE".into()).read().unwrap_err();
        assert!(unset.to_string().contains("TASKWARDEN_NO_SUCH_VARIABLE"));
    }

    #[test]
    fn waits_double_up_to_their_cap() {
        let now = Timestamp::UNIX_EPOCH;
        let minutes =
            |doublings| (after(now, REFUSED_FIRST, doublings, REFUSED_MAX).as_second()) / 60;
        assert_eq!([0, 1, 2, 6, 7, 40].map(minutes), [15, 30, 60, 960, 1440, 1440]);
    }

    #[test]
    fn a_clock_that_was_put_back_does_not_stretch_a_wait() {
        let now = Timestamp::UNIX_EPOCH;
        let mut until = Some(now + SignedDuration::from_hours(24 * 365));
        assert!(pending(&mut until, now, REFUSED_MAX).is_some());
        let later = now + REFUSED_MAX;
        assert!(pending(&mut until, later, REFUSED_MAX).is_none());
    }
}
