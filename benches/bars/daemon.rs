//! The real program: how soon it asks, what it needs while it waits, and how fast `match` is.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use taskwarden::ambient::Clock;
use tokio::runtime::Runtime;

use taskwarden::sandbox::{self, Flavour, Sandbox, Settings, State, TaskScript};

use crate::machine::{median, millis, millis_of_children, millis_of_thread, now, proc_number};
use crate::{Bar, Table, rules, store};

/// The program that is measured: the one that `TASKWARDEN` names, such as a release, else the one that
/// was built beside this.
pub(crate) fn path() -> PathBuf {
    std::env::var_os("TASKWARDEN").map_or(env!("CARGO_BIN_EXE_taskwarden").into(), PathBuf::from)
}

/// The program, with a state folder and a home below `dir`.
pub(crate) fn program(dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(fs::canonicalize(path()).unwrap());
    command.args(args).current_dir(dir).stdin(Stdio::null()).env_clear();
    for name in ["PATH", "SSL_CERT_FILE", "SSL_CERT_DIR"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command.env("STATE_DIRECTORY", dir.join("state")).env("HOME", dir);
    command
}

/// The daemon, with what its unit puts in the environment.
fn daemon(dir: &Path) -> Child {
    let unit = include_str!("../../systemd/taskwarden.service");
    let set = unit.lines().filter_map(|line| line.strip_prefix("Environment="));
    let set = set.flat_map(str::split_whitespace).map(|set| set.split_once('=').unwrap());
    program(dir, &["run"]).envs(set).stderr(Stdio::null()).spawn().unwrap()
}

fn end(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

/// How long it takes from the start of the process to the first byte of its first question, with 100
/// rules, a million audit rows and 100,000 tasks of the server remembered.
pub(crate) fn starting(table: &mut Table, runs: usize) {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let (state, time) = (dir.path().join("state"), Clock::system().now());
    store::fill(&state, 1_000_000, time);
    store::remember(&state, 100_000, time);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    for (what, scheme) in [("", "http"), (", over TLS", "https")] {
        let address = listener.local_addr().unwrap();
        let server = format!("[{{name: home, url: '{scheme}://{address}', token: t}}]");
        fs::write(dir.path().join("rules.yaml"), rules(100, &server)).unwrap();
        let times = (0..=runs).map(|_| {
            let began = now();
            let child = daemon(dir.path());
            let (mut stream, _) = listener.accept().unwrap();
            stream.read_exact(&mut [0]).unwrap();
            let time = millis(began.elapsed());
            drop(stream);
            end(child);
            time
        });
        // The first one reads the program from the disk.
        let times = times.skip(1).collect();
        let what = format!(
            "start to first poll sent{what}, 100 rules, 1 million audit rows, 100,000 tasks remembered"
        );
        table.row(&what, median(times), "ms", Bar::AtMost(30.0));
    }
}

/// The switches that each thread of a process made of its own will: each is a wake-up.
fn switches(pid: u32) -> BTreeMap<String, u64> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    threads
        .map(|thread| {
            let thread = thread.unwrap().file_name().into_string().unwrap();
            let pid = format!("{pid}/task/{thread}");
            let count = proc_number(&pid, "status", "voluntary_ctxt_switches:");
            (thread, count)
        })
        .collect()
}

/// How often the threads woke up between two readings; one that ended did so once at least.
fn wake_ups(before: &BTreeMap<String, u64>, after: &BTreeMap<String, u64>) -> u64 {
    let woken = after.iter().map(|(thread, count)| count - before.get(thread).unwrap_or(&0));
    let ended = before.keys().filter(|thread| !after.contains_key(*thread));
    woken.sum::<u64>() + ended.count() as u64
}

/// A server with finished tasks in this process. A third of them failed, each with one of so many errors.
fn server(runtime: &Runtime, tasks: usize, errors: usize) -> Sandbox {
    let clock = Clock::system();
    let options = sandbox::Options {
        settings: Settings::new(Flavour::OpenList).pool("offline_download", 100, 0),
        now: Arc::new(move || clock.now()),
        seed: 1,
    };
    let sandbox = runtime.block_on(Sandbox::start(options)).unwrap();
    sandbox.with_model(|model| {
        for n in 0..tasks {
            let name = format!(
                "download http://mirror.example/archive/{}/a file with a longer name, part {n}.iso to (/downloads/archive/{})",
                n % 700,
                n % 700
            );
            let error = format!("failed get link: object of shard {} not found", n % errors);
            let failed = n % 3 == 0;
            let (state, error) =
                if failed { (State::Failed, &*error) } else { (State::Succeeded, "") };
            model.add_finished(TaskScript::new("offline_download", name), state, error);
        }
    });
    sandbox
}

/// The rules of the example, for this server. Its tasks they leave alone or tell of once.
fn write_example(dir: &Path, sandbox: &Sandbox, poll: &str) {
    let example = include_str!("../../rules.example.yaml");
    let rules = &example[example.find("\nrules:").unwrap()..];
    let (url, token) = (sandbox.url(), sandbox.token());
    let text = format!(
        "version: 1\nservers: [{{name: home, url: '{url}', token: '{token}', poll: {poll}}}]{rules}"
    );
    fs::write(dir.join("rules.yaml"), text).unwrap();
}

/// What a daemon has in memory, by a line of its `status`, in MiB.
fn resident(child: &Child, line: &str) -> f64 {
    proc_number(&child.id().to_string(), "status", line) as f64 / 1024.0
}

/// What a daemon with one server and 100 tasks needs while it waits, and how often it wakes up in a
/// minute in which nothing is due.
pub(crate) fn idling(table: &mut Table) {
    const WARM_UP: Duration = Duration::from_secs(20);
    const QUIET: Duration = Duration::from_secs(60);
    let runtime = Runtime::new().unwrap();
    let sandbox = server(&runtime, 100, 100);
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    write_example(dir.path(), &sandbox, "1s");
    let child = daemon(dir.path());
    std::thread::sleep(WARM_UP);
    // Long enough between two looks for a quiet minute.
    write_example(dir.path(), &sandbox, "10m");
    // Until the new rules are read, the look that follows is over, and what was at work for them has
    // ended: connections two seconds later, the thread that read the file ten.
    std::thread::sleep(Duration::from_secs(15));
    let before = switches(child.id());
    std::thread::sleep(QUIET);
    let woken = wake_ups(&before, &switches(child.id()));
    let (rss, anonymous) = (resident(&child, "VmRSS:"), resident(&child, "RssAnon:"));
    end(child);
    table.row("memory while it waits, one server, 100 tasks", rss, "MiB", Bar::AtMost(12.0));
    println!("| of that, not from files | {anonymous:.1} MiB | | |");
    table.row("wake-ups in a minute in which nothing is due", woken as f64, "", Bar::AtMost(0.0));
}

/// What a daemon needs where there are 100,000 tasks, above what it needs for 100, and beside the bytes of the answer
/// that lists them.
pub(crate) fn crowded(table: &mut Table) {
    let runtime = Runtime::new().unwrap();
    let took = |dir: &Path| {
        let child = daemon(dir);
        // Many looks, most of which show nothing new; then between two of them.
        std::thread::sleep(Duration::from_secs(40));
        let between = (0..40).map(|_| {
            std::thread::sleep(Duration::from_millis(100));
            resident(&child, "VmRSS:")
        });
        let steady = between.fold(f64::INFINITY, f64::min);
        let most = resident(&child, "VmHWM:");
        end(child);
        [steady, most]
    };
    let place = |tasks| {
        let sandbox = server(&runtime, tasks, 200);
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        write_example(dir.path(), &sandbox, "2s");
        (sandbox, dir)
    };
    let (_few, dir) = place(100);
    let [idle, _] = took(dir.path());
    let (many, dir) = place(100_000);
    let answer = answer_length(&many) as f64 / 1_048_576.0;
    for so in ["", ", started again"] {
        let [steady, most] = took(dir.path());
        for (what, memory, bar) in [
            ("memory above that at 100,000 tasks", steady, 1.5),
            ("the most above that", most, 3.0),
        ] {
            let what = format!("{what}{so}, beside the {answer:.0} MiB of the answer");
            table.row(&what, (memory - idle) / answer, "x", Bar::AtMost(bar));
        }
    }
}

/// The bytes of the list of finished tasks.
fn answer_length(sandbox: &Sandbox) -> usize {
    let url = sandbox.url();
    let address = url.trim_start_matches("http://").trim_end_matches('/');
    let mut stream = TcpStream::connect(address).unwrap();
    let token = sandbox.token();
    let path = "/api/task/offline_download/done";
    let question = format!(
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nAuthorization: {token}\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(question.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer[..200]));
    answer.len()
}

/// How much work `match` has with 10,000 lines: for people, and for scripts, which get every rule and matcher for
/// each, so that it is held against `serde_json` that only writes the same.
pub(crate) fn matching(table: &mut Table, runs: usize) {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let text = rules(100, "[{name: home, url: 'http://h', token: t}]");
    fs::write(dir.path().join("rules.yaml"), text).unwrap();
    let mut lines = String::new();
    for n in 0..10_000 {
        let (drive, code) = (n % 120, n % 120 * 1000 + n % 1000);
        lines.push_str(&format!(
            "{{\"id\":\"{n}\",\"kind\":\"copy\",\"state\":\"failed\",\"name\":\"copy [/a](/Episode {n}.mkv) to \
             [/drive {drive}](/library)\",\"error\":\"failed to upload: code: {code}, message: wait {n}\"}}\n"
        ));
    }
    let matched = |format| {
        let before = millis_of_children();
        let mut child = program(dir.path(), &["match", "-", "--format", format])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let (mut stdin, lines) = (child.stdin.take().unwrap(), lines.clone());
        let writer = std::thread::spawn(move || stdin.write_all(lines.as_bytes()));
        let out = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
        writer.join().unwrap().unwrap();
        assert_eq!(out.lines().count(), 10_000);
        (out, millis_of_children() - before)
    };
    let times = (0..runs).map(|_| matched("human").1);
    let what = "`match - --format human` of 10,000 lines, 100 rules";
    table.row(what, median(times.collect()), "ms", Bar::AtMost(300.0));
    let ratios = (0..runs).map(|_| {
        let (out, time) = matched("json");
        // A tenth of it, for all of it would take gigabytes as values.
        let tenth: Vec<serde_json::Value> =
            out.lines().step_by(10).map(|line| serde_json::from_str(line).unwrap()).collect();
        let before = millis_of_thread();
        let written: usize = tenth.iter().map(|line| line.to_string().len()).sum();
        let writing = 10.0 * (millis_of_thread() - before);
        assert!(written > out.len() / 20);
        time / writing
    });
    let what = "the same as JSON, beside `serde_json` writing as much";
    table.row(what, median(ratios.collect()), "x", Bar::AtMost(2.0));
}
