//! What people ask of the running daemon: the real program, its socket, and its listener.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests may unwrap")]

mod common;

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Stdio;
use std::time::Duration;

use common::process::{DEADLINE, Home, Process, real_time, report, servers};
use common::{Reserved, Told, Turned, options};
use serde_json::Value;
use taskwarden::daemon::reload::FollowedFile;
use taskwarden::daemon::rules_files::RulesFiles;
use taskwarden::daemon::supervise::Daemon;
use taskwarden::sandbox::{Endpoint, Flavour, Sandbox, Settings, State, TaskScript};

const MOMENT: Duration = Duration::from_millis(100);
const REFUSED: &str = "dial tcp 192.0.2.7:443: connect: connection refused";

/// One attempt, and then it gives up.
const ONCE: &str = "
rules:
  - name: once
    match: { kind: offline_download, state: failed, error: connection refused }
    action: retry_some
    backoff: { initial: 1s, factor: 1, jitter: 0 }
    max_attempts: 1
";

async fn openlist() -> Sandbox {
    real_time(Settings::new(Flavour::OpenList).pool("offline_download", 20, 0)).await
}

fn add(sandbox: &Sandbox, file: &str, failures: usize) -> String {
    let name = format!("download http://h.example/{file} to (/d)");
    let script =
        TaskScript::new("offline_download", name).fails(failures, MOMENT, REFUSED).succeeds(MOMENT);
    sandbox.with_model(|model| model.add(script))
}

fn state(sandbox: &Sandbox, id: &str) -> Option<State> {
    sandbox.with_model(|model| model.state(id))
}

fn retries(sandbox: &Sandbox) -> usize {
    report(sandbox).calls.iter().filter(|call| call.endpoint == Endpoint::RetrySome).count()
}

fn assert_no_harm(sandbox: &Sandbox) {
    assert_eq!(report(sandbox).violations(), Vec::<String>::new());
}

/// Runs a command to its end: its code, what it printed, what it said.
fn call(home: &Home, args: &[&str]) -> (i32, String, String) {
    let ended = home.taskwarden(args).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (ended.status.code().unwrap(), text(ended.stdout), text(ended.stderr))
}

fn json(home: &Home, args: &[&str]) -> Vec<Value> {
    let args: Vec<&str> = args.iter().copied().chain(["--format", "json"]).collect();
    let (code, printed, said) = call(home, &args);
    assert_eq!(code, 0, "{said}");
    printed.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

async fn ready(home: &Home, daemon: &Process) {
    daemon.says("home: reached").await;
    daemon
        .until("a status", || {
            let (_, printed, _) = call(home, &["status", "--format", "json"]);
            printed.contains("\"look_seconds\"")
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_given_up_is_listed_and_tried_again_by_the_running_daemon() {
    let sandbox = openlist().await;
    let home = Home::on(&sandbox, ONCE);
    let task = add(&sandbox, "film.mkv", 2);
    let daemon = home.daemon(&["run"]);
    home.one_is_given_up(&daemon).await;

    let letters = json(&home, &["dead", "list"]);
    assert_eq!(letters.len(), 1, "{letters:?}");
    assert_eq!(letters[0]["task_id"], task);
    assert_eq!(letters[0]["rule"], "once");
    assert_eq!(letters[0]["class"], "network");
    assert_eq!(letters[0]["error"], REFUSED);
    assert_eq!(json(&home, &["dead", "list", "--class", "throttled"]), Vec::<Value>::new());
    let (_, human, _) = call(&home, &["dead", "list"]);
    assert!(human.contains("rule `once`, network: 1 task"), "{human}");

    // To try everything again by leaving something out would be a slip.
    assert_eq!(call(&home, &["dead", "redrive"]).0, 2);
    assert_eq!(call(&home, &["dead", "redrive", "--all", "--rate", "much"]).0, 2);
    assert_eq!(retries(&sandbox), 1);
    let done = json(&home, &["dead", "redrive", "--rule", "once"]);
    assert_eq!(done.len(), 1, "{done:?}");
    daemon.until("it came through", || state(&sandbox, &task) == Some(State::Succeeded)).await;
    assert_eq!(retries(&sandbox), 2);
    assert_eq!(json(&home, &["dead", "list"]), Vec::<Value>::new());
    daemon.terminate().await;
    assert!(home.audit().iter().any(|row| row.action == "redrive"));
    assert_no_harm(&sandbox);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_daemon_the_next_one_finds_what_was_asked_for() {
    let sandbox = openlist().await;
    let home = Home::on(&sandbox, ONCE);
    let (code, _, said) = call(&home, &["status"]);
    assert_eq!(code, 3);
    assert!(said.contains("no daemon works with the state folder"), "{said}");
    let task = add(&sandbox, "film.mkv", 2);
    let daemon = home.daemon(&["run"]);
    home.one_is_given_up(&daemon).await;
    daemon.terminate().await;
    assert_eq!(json(&home, &["dead", "redrive", "--all"]).len(), 1);
    assert_eq!(json(&home, &["pause", "once", "--why", "the drive moves"]).len(), 1);

    let daemon = home.daemon(&["run"]);
    ready(&home, &daemon).await;
    let status = &json(&home, &["status"])[0];
    let rule = &status["servers"][0]["rules"][0];
    assert_eq!(rule["paused"]["why"], "the drive moves");
    assert_eq!(rule["waiting"]["paused"], 1);
    assert_eq!(retries(&sandbox), 1);
    assert_eq!(json(&home, &["resume", "once"]).len(), 1);
    daemon.until("it came through", || state(&sandbox, &task) == Some(State::Succeeded)).await;
    assert_eq!(call(&home, &["resume", "once"]).0, 1, "it is not paused any more");
    let (code, _, said) = call(&home, &["pause", "onec"]);
    assert_eq!(code, 2);
    assert!(said.contains("there is no rule `onec`; there is `once`"), "{said}");
    daemon.terminate().await;
    assert_no_harm(&sandbox);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_tells_what_changed_or_why_not() {
    let sandbox = openlist().await;
    let home = Home::on(&sandbox, ONCE);
    let daemon = home.daemon(&["run"]);
    ready(&home, &daemon).await;
    let (code, printed, _) = call(&home, &["reload"]);
    assert_eq!((code, printed.as_str()), (0, "in force: nothing changed\n"));
    let full = |rules: &str| format!("{}{rules}", servers(&[("home", &sandbox)]));
    home.write_rules(&full(&ONCE.replace("state: failed", "state: faild")));
    let (code, _, said) = call(&home, &["reload"]);
    assert_eq!(code, 1);
    assert!(said.contains("error[unknown-state]"), "{said}");
    let (_, printed, _) = call(&home, &["status"]);
    assert!(printed.contains("IS NOT IN FORCE"), "{printed}");
    home.write_rules(&full(&ONCE.replace("max_attempts: 1", "max_attempts: 2")));
    daemon.says("changed `once`").await;
    let (code, printed, _) = call(&home, &["reload"]);
    assert_eq!((code, printed.as_str()), (0, "in force: nothing changed\n"));
    daemon.terminate().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_shows_first_what_the_file_would_have_done() {
    let sandbox = openlist().await;
    let home = Home::on(&sandbox, ONCE);
    let daemon = home.daemon(&["run"]);
    ready(&home, &daemon).await;
    add(&sandbox, "a", 9);
    home.one_is_given_up(&daemon).await;
    let (code, printed, said) = call(&home, &["reload", "--backtest", "--since", "1h"]);
    assert_eq!(code, 0, "{said}");
    let [nothing, .., last] = &printed.lines().collect::<Vec<_>>()[..] else { panic!("{printed}") };
    assert!(nothing.starts_with("rule `once`: "), "{printed}");
    assert!(printed.contains("(0 added, 0 removed, 0 moved)"), "{printed}");
    assert_eq!(*last, "in force: nothing changed");
    // What the new file would not have done, and then what it changes.
    let full = |rules: &str| format!("{}{rules}", servers(&[("home", &sandbox)]));
    home.write_rules(&full(&ONCE.replace("connection refused", "never seen")));
    let (code, printed, said) = call(&home, &["--format", "json", "reload", "--backtest"]);
    assert_eq!(code, 0, "{said}");
    let lines: Vec<Value> =
        printed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines[0]["change"], "removed", "{printed}");
    assert_eq!(lines[lines.len() - 2]["change"], "total", "{printed}");
    assert_eq!(lines[lines.len() - 1]["accepted"], true, "{printed}");
    home.write_rules(&full(&ONCE.replace("state: failed", "state: faild")));
    let (code, _, said) = call(&home, &["reload", "--backtest"]);
    assert_eq!(code, 1);
    assert!(said.contains("error[unknown-state]"), "{said}");
    assert_eq!(call(&home, &["reload", "--backtest", "--since", "noon"]).0, 2);
    assert_eq!(call(&home, &["reload", "--since", "1h"]).0, 2);
    daemon.terminate().await;
    assert_no_harm(&sandbox);
}

/// One request over a bare socket: the code, and the whole answer.
fn ask(port: u16, head: &str) -> (u16, String) {
    let exchange = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(DEADLINE))?;
        write!(stream, "{head}\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    // A listener that is not there yet, or is just being replaced, refuses or breaks off.
    let answer = exchange().unwrap_or_else(|error| error.to_string());
    (answer.get(9..12).and_then(|code| code.parse().ok()).unwrap_or(0), answer)
}

/// Has Prometheus' own tool judge names and texts, where it is installed. It reads the older format,
/// in which a counter's `_total` is part of its name.
fn prometheus_finds_nothing_amiss(metrics: &str) {
    let counters: Vec<&str> = metrics
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" counter"))
        .collect();
    assert!(counters.contains(&"taskwarden_polls"), "{metrics}");
    let mut older = String::new();
    for line in metrics.lines().filter(|line| !line.starts_with("# UNIT ")) {
        let mut words: Vec<&str> = line.splitn(4, ' ').collect();
        let total = words.get(2).map(|name| format!("{name}_total")).unwrap_or_default();
        if words[0] == "#" && words.get(2).is_some_and(|name| counters.contains(name)) {
            words[2] = &total;
        }
        older.push_str(&words.join(" "));
        older.push('\n');
    }
    let mut promtool = std::process::Command::new("promtool");
    promtool.args(["check", "metrics"]).stdin(Stdio::piped()).stderr(Stdio::piped());
    let Ok(mut child) = promtool.spawn() else { return };
    child.stdin.take().unwrap().write_all(older.as_bytes()).unwrap();
    let ended = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success() && said.is_empty(), "{said}\n{older}");
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_and_health_are_served_where_the_rules_say() {
    let sandbox = openlist().await;
    let reserved = Reserved::new();
    let port = reserved.port();
    let listen = |token: &str| {
        let top = format!("listen: {{ address: '127.0.0.1:{port}'{token} }}\n");
        format!("{}{top}{ONCE}", servers(&[("home", &sandbox)]))
    };
    let home = Home::new();
    home.write_rules(&listen(""));
    let task = add(&sandbox, "film-of-the-year.mkv", 1);
    let daemon = home.daemon(&["run"]);
    ready(&home, &daemon).await;
    daemon.until("it came through", || state(&sandbox, &task) == Some(State::Succeeded)).await;
    let local = format!("Host: 127.0.0.1:{port}");
    let get = |path: &str, host: &str| ask(port, &format!("GET {path} HTTP/1.1\r\n{host}"));
    let mut metrics = String::new();
    daemon
        .until("the success is counted", || {
            metrics = get("/metrics", &local).1;
            metrics.contains("state=\"succeeded\"")
        })
        .await;
    for line in [
        "taskwarden_server_up{server=\"home\"} 1",
        "taskwarden_tasks{server=\"home\",kind=\"offline_download\",state=\"succeeded\"} 1",
        "outcome=\"accepted\"} 1",
        "taskwarden_polls_total{server=\"home\",result=\"read\"}",
        "taskwarden_config_last_reload_successful 1",
        "# EOF",
    ] {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
    assert!(!metrics.contains("film-of-the-year"), "{metrics}");
    prometheus_finds_nothing_amiss(metrics.split_once("\r\n\r\n").unwrap().1);
    assert_eq!(get("/healthz", &local).0, 200);
    assert_eq!(get("/readyz", &local).0, 200);
    // A web page that made a name of its own lead here gets nothing.
    assert_eq!(get("/metrics", "Host: evil.example").0, 421);
    let reload = |more: &str| {
        ask(port, &format!("POST /-/reload HTTP/1.1\r\n{local}\r\nContent-Length: 0{more}"))
    };
    assert_eq!(reload("").0, 403, "nobody has shown a token");
    assert_eq!(ask(port, &format!("GET /api/v1/status HTTP/1.1\r\n{local}")).0, 404);

    std::fs::write(home.file("token"), "open-sesame\n").unwrap();
    let file = home.file("token").display().to_string();
    home.write_rules(&listen(&format!(", token: {{ file: '{file}' }}")));
    daemon.says("listen changed").await;
    daemon.until("it asks for a token", || get("/metrics", &local).0 == 401).await;
    // The token counts at once; a moment later the listener is replaced, which cuts off whoever came without it.
    daemon.until("it is healthy without one", || get("/healthz", &local).0 == 200).await;
    let reloaded = |token: &str| reload(&format!("\r\nAuthorization: Bearer {token}"));
    daemon.until("another token is refused", || reloaded("open-sesam").0 == 401).await;
    let mut answer = (0, String::new());
    daemon
        .until("the token is taken", || {
            answer = reloaded("open-sesame");
            answer.0 == 200
        })
        .await;
    assert!(answer.1.contains("nothing changed"), "{}", answer.1);
    // Who looks on as things happen does not keep the daemon from ending.
    let head =
        format!("GET /api/v1/events HTTP/1.1\r\n{local}\r\nAuthorization: Bearer open-sesame");
    let listens = || -> std::io::Result<TcpStream> {
        let mut events = TcpStream::connect(("127.0.0.1", port))?;
        write!(events, "{head}\r\n\r\n")?;
        events.set_read_timeout(Some(DEADLINE))?;
        let mut start = [0; 12];
        events.read_exact(&mut start)?;
        assert_eq!(&start[9..], b"200");
        Ok(events)
    };
    // The listener may be replaced only now.
    let mut events = listens();
    daemon
        .until("it is listened to", || {
            if events.is_err() {
                events = listens();
            }
            events.is_ok()
        })
        .await;
    let said = daemon.terminate().await;
    assert!(!said.contains("open-sesame"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_runs_the_rules_of_a_file_and_leaves_its_servers_alone() {
    let sandbox = openlist().await;
    let home = Home::on(&sandbox, ONCE);
    let mut demo = home.daemon(&["demo", "-c", "rules.yaml", "--speed", "60"]);
    demo.until("it is up", || demo.printed().contains("home: reached")).await;
    // By the second reload all that the first one began has begun.
    for (turn, attempts) in [(1, "2"), (2, "3")] {
        let rules = ONCE.replace("max_attempts: 1", &format!("max_attempts: {attempts}"));
        home.write_rules(&format!("{}{rules}", servers(&[("home", &sandbox)])));
        let told = || demo.printed().matches("rules reloaded (changed `once`)").count() == turn;
        demo.until("it is read anew", told).await;
    }
    demo.signal("INT");
    assert_eq!(demo.ends().await.code(), Some(0), "{}", demo.printed());
    assert_eq!(report(&sandbox).calls.len(), 0, "nobody asked it anything");
}

/// What the thread that asks has taken of the processor.
fn spent() -> Duration {
    use rustix::time::{ClockId, clock_gettime};
    clock_gettime(ClockId::ThreadCPUTime).try_into().unwrap()
}

#[tokio::test]
async fn thousands_of_rules_are_not_loaded_in_the_loop() {
    let rules = |numbers: &mut dyn Iterator<Item = usize>| {
        let mut text =
            "version: 1\nservers: [{ name: home, url: 'http://127.0.0.1:1', token: t }]\nrules:\n"
                .to_owned();
        for n in numbers {
            let error = format!("drive no {n}: .* (refused|reset)");
            let _ = writeln!(
                text,
                "  - {{ name: r{n}, match: {{ error: '{error}' }}, action: retry_some, max_attempts: 3 }}"
            );
        }
        text
    };
    let (turned, told, home) = (Turned::new(), Told::default(), Home::new());
    home.write_rules(&rules(&mut (0..5000)));
    let files = RulesFiles::read(&home.rules()).unwrap();
    let began = spent();
    let config = files.load().config.unwrap();
    let load = spent().saturating_sub(began);
    let daemon = Daemon::new(config, options(&home.state(), &turned, &told)).unwrap();
    let (stop, control) = (daemon.stopper(), daemon.control());
    let asks = async {
        home.write_rules(&rules(&mut (0..5000).rev()));
        // All but what is handed to other threads is done by this one.
        let began = spent();
        let changes = control.reload().await.unwrap();
        let took = spent().saturating_sub(began);
        assert_eq!(changes, "order, classes or modes changed");
        assert!(took < load / 4, "{took:?} of the loop, where a load takes {load:?}");
        stop.send_replace(true);
    };
    let follows = ("rules.yaml".to_owned(), FollowedFile::new(&files));
    let (ran, ()) = tokio::join!(daemon.run(Some(follows)), asks);
    ran.unwrap();
}
