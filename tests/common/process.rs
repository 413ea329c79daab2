//! The real binary: started in a folder of its own, listened to, and ended.
//!
//! Nothing here waits for a fixed time: [`eventually`] looks until something holds.

use std::io::{BufRead as _, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use taskwarden::ambient::{Clock, monotonic};
use taskwarden::engine::audit::AuditRow;
use taskwarden::sandbox::{self, Report, Sandbox, Settings};
use taskwarden::store::{AuditFilter, Reader};

/// The longest that anything is waited for: far longer than a busy machine takes, as only a test that
/// fails waits so long.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// A sandbox server that lives in real time, as a process beside it does.
pub async fn real_time(settings: Settings) -> Sandbox {
    let clock = Clock::system();
    Sandbox::start(sandbox::Options { settings, now: Arc::new(move || clock.now()), seed: 7 })
        .await
        .unwrap()
}

/// Waits until `holds`; panics with `what` and what `else_tell` says when it never does.
pub async fn eventually_or(what: &str, mut holds: impl FnMut() -> bool, tell: impl Fn() -> String) {
    let began = monotonic();
    while !holds() {
        assert!(began.elapsed() < DEADLINE, "not in {DEADLINE:?}: {what}\n{}", tell());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A folder with a rules file, a state folder and whatever else a run needs.
#[derive(Debug)]
pub struct Home(tempfile::TempDir);

impl Home {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// With a rules file for one server, called `home`, and `rules` from `rules:` on.
    pub fn on(sandbox: &Sandbox, rules: &str) -> Self {
        let home = Self::new();
        home.write_rules(&format!("{}{rules}", servers(&[("home", sandbox)])));
        home
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    pub fn rules(&self) -> PathBuf {
        self.file("rules.yaml")
    }

    pub fn state(&self) -> PathBuf {
        self.file("state")
    }

    /// Saves the rules file in one step: a daemon that follows it sees the old text or the new one,
    /// and never a part of it, however long this process is kept from going on.
    pub fn write_rules(&self, text: &str) {
        let new = self.file(".rules.yaml.new");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(new, self.rules()).unwrap();
    }

    /// The program in this folder, with nothing of the outer environment that it heeds. Its state
    /// is in `state`, its rules are found as `./rules.yaml`.
    pub fn taskwarden(&self, args: &[&str]) -> Command {
        let mut command = self.bare(args);
        command.env("STATE_DIRECTORY", self.state());
        command
    }

    /// The same without a state folder.
    pub fn bare(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_taskwarden"));
        command.args(args).current_dir(self.path()).stdin(Stdio::null());
        for name in ["TASKWARDEN_CONFIG", "STATE_DIRECTORY", "XDG_CONFIG_HOME", "XDG_STATE_HOME"] {
            command.env_remove(name);
        }
        for name in [
            "NO_COLOR",
            "RUST_LOG",
            "JOURNAL_STREAM",
            "http_proxy",
            "HTTP_PROXY",
            "all_proxy",
            "ALL_PROXY",
        ] {
            command.env_remove(name);
        }
        command.env("HOME", self.path()).env("TZ", "UTC").env("COLUMNS", "100");
        command.env("SANDBOX_TOKEN_OPENLIST", "openlist-sandbox-static-token");
        command.env("SANDBOX_TOKEN_ALIST", "alist-sandbox-static-token");
        command
    }

    pub fn daemon(&self, args: &[&str]) -> Process {
        Process::start(self.taskwarden(args))
    }

    pub fn audit(&self) -> Vec<AuditRow> {
        let Ok(reader) = Reader::open(&self.state()) else { return Vec::new() };
        reader.audit(&AuditFilter::default()).unwrap()
    }

    /// Waits until a task was given up and that is written down, which it is after it was told.
    pub async fn one_is_given_up(&self, daemon: &Process) {
        let given_up = || self.audit().iter().any(|row| row.action == "give_up");
        daemon.until("one is given up", given_up).await;
    }

    /// Every byte of every file in the state folder.
    pub fn state_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for entry in std::fs::read_dir(self.state()).unwrap() {
            let path = entry.unwrap().path();
            // The socket is none.
            if !path.is_file() {
                continue;
            }
            match std::fs::read(path) {
                Ok(read) => bytes.extend(read),
                // A daemon may have removed what it needed for a moment.
                Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::NotFound, "{error}"),
            }
        }
        bytes
    }
}

/// The part of a rules file about servers, each looked at every second.
pub fn servers(servers: &[(&str, &Sandbox)]) -> String {
    let mut text = "version: 1\nservers:\n".to_owned();
    for (name, sandbox) in servers {
        let flavour = if sandbox.token().starts_with("alist") { "ALIST" } else { "OPENLIST" };
        text += &format!(
            "  - {{ name: {name}, url: '{}', token: {{ env: SANDBOX_TOKEN_{flavour} }}, poll: 1s }}\n",
            sandbox.url()
        );
    }
    text
}

/// A process, and what it has said so far. It is killed when dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    said: Arc<Mutex<String>>,
    printed: Arc<Mutex<String>>,
    gathering: [JoinHandle<()>; 2],
}

fn gather(from: impl Read + Send + 'static) -> (Arc<Mutex<String>>, JoinHandle<()>) {
    let text = Arc::new(Mutex::new(String::new()));
    let shared = Arc::clone(&text);
    let gathering = std::thread::spawn(move || {
        for line in BufReader::new(from).lines() {
            let Ok(line) = line else { return };
            *shared.lock().unwrap() += &format!("{line}\n");
        }
    });
    (text, gathering)
}

impl Process {
    pub fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (said, hears) = gather(child.stderr.take().unwrap());
        let (printed, reads) = gather(child.stdout.take().unwrap());
        Self { child, said, printed, gathering: [hears, reads] }
    }

    /// All that it said on standard error.
    pub fn said(&self) -> String {
        self.said.lock().unwrap().clone()
    }

    /// All that it printed on standard output.
    pub fn printed(&self) -> String {
        self.printed.lock().unwrap().clone()
    }

    /// How often it said this.
    pub fn times_said(&self, what: &str) -> usize {
        self.said().matches(what).count()
    }

    pub async fn says(&self, what: &str) {
        let holds = || self.said().contains(what);
        eventually_or(&format!("says {what:?}"), holds, || self.said()).await;
    }

    pub async fn until(&self, what: &str, holds: impl FnMut() -> bool) {
        eventually_or(what, holds, || self.said()).await;
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Sends a signal, by its name.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").args(["-s", name, &self.id().to_string()]).status();
        assert!(sent.unwrap().success());
    }

    /// Waits for its end, and until all that it said has come.
    pub async fn ends(&mut self) -> ExitStatus {
        let began = monotonic();
        loop {
            let status = self.child.try_wait().unwrap();
            if let Some(status) = status
                && self.gathering.iter().all(JoinHandle::is_finished)
            {
                return status;
            }
            assert!(began.elapsed() < DEADLINE, "does not end\n{}", self.said());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Tells it to end, and holds that it does so in good order.
    pub async fn terminate(mut self) -> String {
        self.signal("TERM");
        let status = self.ends().await;
        assert_eq!(status.code(), Some(0), "{}", self.said());
        self.said()
    }

    /// Ends it as a power cut would.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How a command ended and what it put out.
#[derive(Debug)]
pub struct Ran {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

/// Runs a command to its end, and kills it when that does not come.
pub fn run(mut command: Command) -> Ran {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    let (ended, end) = std::sync::mpsc::channel::<()>();
    let id = child.id().to_string();
    let guard = std::thread::spawn(move || {
        if end.recv_timeout(2 * DEADLINE) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
            let _ = Command::new("kill").args(["-s", "KILL", &id]).status();
        }
    });
    let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
    drop(ended);
    guard.join().unwrap();
    Ran {
        code: status.code(),
        out: String::from_utf8(stdout).unwrap(),
        err: String::from_utf8(stderr).unwrap(),
    }
}

pub fn report(sandbox: &Sandbox) -> Report {
    sandbox.with_model(|model| model.report())
}

/// How often tasks were named in calls that act.
pub fn acted(sandbox: &Sandbox) -> usize {
    report(sandbox).actions().count()
}
