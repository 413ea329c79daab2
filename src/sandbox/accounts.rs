//! Who may call the server: users, tokens, and the lock after wrong logins.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use sha2::{Digest, Sha256};

use super::rng::Rng;
use super::settings::{Flavour, Settings};

/// Wrong logins after which the address is locked out (CONTRACT.md, "Answers").
const WRONG_LOGINS: u32 = 5;
/// How long the lock lasts after the last refused try.
const LOCKED_FOR: Duration = Duration::from_secs(300);

/// What a call without a token is told, and one by the guest user.
const GUEST: &str = "Guest user is disabled, login please";

/// The rights of a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Sees only their own tasks.
    General,
    /// May not use tasks at all.
    Guest,
    /// Sees and touches every task.
    Admin,
}

/// The one-time codes that a user's login takes.
#[derive(Clone)]
pub enum Otp {
    /// Any of these.
    Codes(Vec<String>),
    /// Whatever this accepts; real codes of the moment, say.
    Check(Arc<dyn Fn(&str) -> bool + Send + Sync>),
}

impl Otp {
    fn accepts(&self, code: &str) -> bool {
        match self {
            Self::Codes(codes) => codes.iter().any(|known| known == code),
            Self::Check(check) => check(code),
        }
    }
}

impl fmt::Debug for Otp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Otp")
    }
}

/// A user of the server.
#[derive(Clone, Debug)]
pub struct User {
    /// Login name, and the `creator` of their tasks.
    pub name: String,
    /// Password, in the clear.
    pub password: String,
    /// Rights.
    pub role: Role,
    /// Set when a login needs a one-time code too.
    pub otp: Option<Otp>,
}

impl User {
    /// A user without one-time codes.
    #[must_use]
    pub fn new(name: impl Into<String>, password: impl Into<String>, role: Role) -> Self {
        Self { name: name.into(), password: password.into(), role, otp: None }
    }

    fn static_hash(&self) -> String {
        hex(&Sha256::digest(format!("{}-https://github.com/alist-org/alist", self.password)))
    }
}

/// On whose behalf a call is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Viewer {
    /// The user's name.
    pub name: String,
    /// Sees and touches every task.
    pub admin: bool,
}

impl Viewer {
    /// The built-in admin.
    #[must_use]
    pub fn admin() -> Self {
        Self { name: "admin".to_owned(), admin: true }
    }
}

/// A refusal, in the words of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) code: u16,
    pub(super) message: &'static str,
}

fn refusal(code: u16, message: &'static str) -> Refusal {
    Refusal { code, message }
}

/// A login, as a client asks for it.
#[derive(Clone, Debug, Default)]
pub(super) struct LoginRequest {
    pub(super) username: String,
    pub(super) password: String,
    pub(super) otp_code: String,
    /// The password is hashed already.
    pub(super) hashed: bool,
    pub(super) user_agent: String,
}

pub(super) struct LoginGrant {
    pub(super) token: String,
    pub(super) device_key: Option<String>,
}

/// The state of the lock after wrong logins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LoginLock {
    /// Wrong logins so far. Time alone never lowers it.
    pub wrong: u32,
    /// Since the first refused try: when the count is forgotten.
    pub until: Option<Timestamp>,
}

#[derive(Debug)]
struct Issued {
    user: String,
    expires: Timestamp,
}

/// Logins attempted, for the referee.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct LoginCount {
    pub(super) right: u32,
    pub(super) wrong: u32,
    pub(super) locked: u32,
}

#[derive(Debug)]
pub(super) struct Accounts {
    flavour: Flavour,
    admin_token: String,
    users: Vec<User>,
    lifetime: Duration,
    issued: BTreeMap<String, Issued>,
    lock: LoginLock,
    rng: Rng,
    pub(super) count: LoginCount,
    pub(super) devices: BTreeSet<String>,
}

impl Accounts {
    pub(super) fn new(settings: &Settings, seed: u64) -> Self {
        Self {
            flavour: settings.flavour,
            admin_token: settings.admin_token.clone(),
            users: settings.users.clone(),
            lifetime: settings.token_lifetime,
            issued: BTreeMap::new(),
            lock: LoginLock::default(),
            rng: Rng::new(seed),
            count: LoginCount::default(),
            devices: BTreeSet::new(),
        }
    }

    pub(super) fn lock(&self) -> LoginLock {
        self.lock
    }

    pub(super) fn role(&self, name: &str) -> Option<Role> {
        self.users.iter().find(|user| user.name == name).map(|user| user.role)
    }

    /// A user with their number, from 1.
    pub(super) fn user(&self, name: &str) -> Option<(usize, &User)> {
        let place = self.users.iter().position(|user| user.name == name)?;
        Some((place + 1, self.users.get(place)?))
    }

    /// Every login token and the count of wrong logins live in memory only (CONTRACT.md, "Answers").
    pub(super) fn restart(&mut self) {
        self.issued.clear();
        self.lock = LoginLock::default();
    }

    /// The admin had the server make a new static token; the old one is worth nothing from now on.
    pub(super) fn reset_admin_token(&mut self, token: &str) {
        token.clone_into(&mut self.admin_token);
    }

    /// Makes every login token invalid, as a changed password does.
    pub(super) fn forget_logins(&mut self) {
        self.issued.clear();
    }

    pub(super) fn viewer(
        &self,
        authorization: Option<&str>,
        now: Timestamp,
    ) -> Result<Viewer, Refusal> {
        let token = authorization.unwrap_or_default();
        if token.is_empty() {
            return Err(refusal(401, GUEST));
        }
        if token == self.admin_token {
            let admin = self.users.iter().find(|user| user.role == Role::Admin);
            let name = admin.map_or("admin", |user| user.name.as_str()).to_owned();
            return Ok(Viewer { name, admin: true });
        }
        // A `Bearer ` prefix makes the whole header an unknown token, as on the servers.
        let Some(issued) = self.issued.get(token) else {
            return Err(refusal(401, "token is invalidated"));
        };
        if issued.expires <= now {
            return Err(refusal(401, "token is expired"));
        }
        match self.role(&issued.user) {
            Some(Role::Guest) => Err(refusal(401, GUEST)),
            Some(role) => Ok(Viewer { name: issued.user.clone(), admin: role == Role::Admin }),
            None => Err(refusal(401, "token is invalidated")),
        }
    }

    /// `now` is the server's true time, `shown` the time by its own clock, which goes into the token.
    pub(super) fn login(
        &mut self,
        request: &LoginRequest,
        now: Timestamp,
        shown: Timestamp,
    ) -> Result<LoginGrant, Refusal> {
        if self.lock.until.is_some_and(|until| until <= now) {
            self.lock = LoginLock::default();
        }
        if self.lock.wrong >= WRONG_LOGINS {
            self.lock.until = Some(later(now, LOCKED_FOR));
            self.count.locked += 1;
            return Err(refusal(
                429,
                "Too many unsuccessful sign-in attempts have been made using an incorrect username \
                 or password, Try again later.",
            ));
        }
        match self.check(request) {
            Err(refusal) => {
                self.lock.wrong += 1;
                self.count.wrong += 1;
                Err(refusal)
            }
            Ok(user) => {
                self.lock = LoginLock::default();
                self.count.right += 1;
                let expires = later(now, self.lifetime);
                let token = self.token(&user, shown, later(shown, self.lifetime));
                self.issued.insert(token.clone(), Issued { user: user.clone(), expires });
                let device = hex(&Sha256::digest(format!("{user} {}", request.user_agent)));
                let device = device.chars().take(32).collect::<String>();
                self.devices.insert(device.clone());
                let device_key = (self.flavour == Flavour::AList).then_some(device);
                Ok(LoginGrant { token, device_key })
            }
        }
    }

    fn check(&self, request: &LoginRequest) -> Result<String, Refusal> {
        let wrong = match self.flavour {
            Flavour::OpenList => refusal(401, "Invalid username or password"),
            Flavour::AList => refusal(400, "username or password is incorrect"),
        };
        let user =
            self.users.iter().find(|user| user.name == request.username).ok_or(wrong.clone())?;
        let right = if request.hashed {
            request.password == user.static_hash()
        } else {
            request.password == user.password
        };
        if !right {
            return Err(wrong);
        }
        match &user.otp {
            Some(otp) if !otp.accepts(&request.otp_code) => Err(refusal(402, "Invalid 2FA code")),
            _ => Ok(user.name.clone()),
        }
    }

    fn token(&mut self, user: &str, issued: Timestamp, expires: Timestamp) -> String {
        let claims = serde_json::json!({
            "username": user,
            "pwd_ts": 0,
            "exp": expires.as_second(),
            "nbf": issued.as_second(),
            "iat": issued.as_second(),
        });
        let signature: [u64; 4] = std::array::from_fn(|_| self.rng.next());
        let signature: Vec<u8> = signature.iter().flat_map(|word| word.to_be_bytes()).collect();
        format!(
            "{}.{}.{}",
            base64url(br#"{"alg":"HS256","typ":"JWT"}"#),
            base64url(claims.to_string().as_bytes()),
            base64url(&signature),
        )
    }
}

/// The moment `wait` after `from`, or the end of time.
pub(super) fn later(from: Timestamp, wait: Duration) -> Timestamp {
    from.checked_add(wait).unwrap_or(Timestamp::MAX)
}

fn hex(bytes: &[u8]) -> String {
    use fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn base64url(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().fold(0_usize, |word, byte| word << 8 | usize::from(*byte))
            << (8 * (3 - chunk.len()));
        for sextet in 0..=chunk.len() {
            text.push(char::from(ALPHABET[word >> (18 - 6 * sextet) & 63]));
        }
    }
    text
}
