//! What the dashboard and its API take at a hundred thousand tasks. docs/dashboard-speed.md tells how to
//! run it, what it is held to and what was found.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a measurement prints, and may fail so"
)]

use std::env;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use taskwarden::ambient::Clock;
use taskwarden::daemon::supervise::{Daemon, Options};
use taskwarden::rules::{Source, load};
use taskwarden::sandbox::{self, Flavour, Sandbox, Settings, TaskScript};
use taskwarden::telemetry::Sink;
use taskwarden::telemetry::feed::Feed;
use taskwarden::telemetry::metrics::Metrics;
use taskwarden::telemetry::status::Board;
use taskwarden::web::desk::Desk;
use taskwarden::web::listener;

const RULES: &str = "
rules:
  - name: patient
    match: { state: failed, not: { class: not_found } }
    action: retry_some
    backoff: { initial: 10h, max: 20h }
  - name: hopeless
    match: { state: failed, class: not_found }
    action: notify
";

/// The bars: the first pages in this time, and of this size.
const BAR_MILLIS: f64 = 100.0;
const BAR_BYTES: usize = 300_000;

fn number(name: &str, default: u32) -> u32 {
    env::var(name).map_or(default, |text| text.parse().expect("a whole number"))
}

fn fill(sandbox: &Sandbox, tasks: u32) {
    let kinds = ["offline_download", "copy", "upload"];
    let moment = Duration::from_millis(1);
    sandbox.with_model(|model| {
        for n in 0..tasks {
            let kind = kinds[n as usize % 3];
            let name = match kind {
                "copy" => format!("copy [/115](/films/{n}.mkv) to [/local](/films)"),
                "upload" => format!("upload {n}.mkv to [/115](/films)"),
                _ => format!("download http://h.example/{n}.mkv to (/local)"),
            };
            let script = TaskScript::new(kind, name);
            model.add(match n % 4 {
                0 => script.fails(9, moment, "dial tcp 192.0.2.7:443: connect: connection refused"),
                1 => script.fails(9, moment, "429 Too Many Requests"),
                2 => script.succeeds(moment),
                _ => script.succeeds(Duration::from_secs(36_000)),
            });
        }
    });
}

/// The status, the length and the time of an answer, from the first byte sent to the last one read.
#[allow(clippy::disallowed_methods, reason = "a measurement reads the clock")]
fn ask(port: u16, path: &str) -> (String, usize, f64) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let began = Instant::now();
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\nAccept: text/html\r\n\r\n"
    )
    .unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let time = began.elapsed().as_secs_f64() * 1000.0;
    let code = String::from_utf8_lossy(&answer[9..12]).into_owned();
    let head = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
    (code, answer.len() - head, time)
}

async fn measure(tasks: u32) -> bool {
    let clock = Clock::system();
    let now = clock.clone();
    let settings = ["offline_download", "copy", "upload"]
        .into_iter()
        .fold(Settings::new(Flavour::OpenList), |settings, kind| settings.pool(kind, 200, 0));
    let options = sandbox::Options { settings, now: Arc::new(move || now.now()), seed: 7 };
    let sandbox = Sandbox::start(options).await.unwrap();
    fill(&sandbox, tasks);
    let dir = tempfile::tempdir().unwrap();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let text = format!(
        "version: 1\nlisten: {{ address: ':{port}' }}\nservers: [{{name: home, url: '{}', token: '{}', \
         poll: 15s, timeout: 60s, max_body: 500MiB}}]\n{RULES}",
        sandbox.url(),
        sandbox.token(),
    );
    let loaded = load(Source::new("bench", &text));
    let config = loaded.config.unwrap_or_else(|| panic!("{:?}", loaded.findings));
    let (board, feed, metrics) = (Board::default(), Feed::default(), Metrics::new(clock.clone()));
    let sink = metrics.beside(&feed.beside(&board.beside(&Sink::new(|_| {}))));
    let options = Options {
        state_dir: dir.path().to_owned(),
        dry_run: false,
        clock: clock.clone(),
        sink: sink.clone(),
        seed: 0,
        speed: 1.0,
    };
    let daemon = Daemon::new(config, options).unwrap();
    let stop = daemon.stopper();
    let desk = Desk::new((daemon.control(), daemon.store()), board.clone(), feed, metrics, clock);
    let runtime = tokio::runtime::Handle::current();
    let running = std::thread::spawn(move || runtime.block_on(daemon.run(None)).unwrap());
    tokio::spawn(listener::follow(desk, sink));
    let seen = || {
        let shown = board.shown();
        let status = shown.servers.values().next()?;
        let failed = status.tasks.values().filter_map(|states| states.get("failed")).sum::<usize>();
        Some((status.tasks.values().flat_map(|states| states.values()).sum::<usize>(), failed))
    };
    while seen().is_none_or(|(listed, failed)| listed < tasks as usize || failed < 1000) {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let (listed, failed) = seen().unwrap();
    println!("{listed} tasks, {failed} of them failed\n");
    println!("| path | median | slowest of 20 | bytes | bar |\n|---|---|---|---|---|");
    let mut held = true;
    for (path, bar) in [
        ("/", true),
        ("/api/v1/overview", true),
        ("/api/v1/due", false),
        ("/api/v1/queue", false),
        ("/api/v1/actions", false),
        ("/api/v1/rules", false),
        ("/api/v1/dead", false),
        ("/api/v1/breakers", false),
        ("/api/v1/report", false),
    ] {
        let answers = tokio::task::spawn_blocking(move || {
            (0..20).map(|_| ask(port, path)).collect::<Vec<_>>()
        });
        let answers = answers.await.unwrap();
        let (code, bytes, _) = answers[0].clone();
        let mut times: Vec<f64> = answers.iter().map(|(_, _, time)| *time).collect();
        times.sort_by(f64::total_cmp);
        let (median, slowest) = (times[times.len() / 2], times[times.len() - 1]);
        let fits = code == "200" && median < BAR_MILLIS && bytes < BAR_BYTES;
        held &= fits || !bar;
        let verdict = if !bar {
            "none"
        } else if fits {
            "held"
        } else {
            "NOT HELD"
        };
        println!("| `{path}` ({code}) | {median:.1} ms | {slowest:.1} ms | {bytes} | {verdict} |");
    }
    stop.send_replace(true);
    running.join().unwrap();
    held
}

fn main() -> ExitCode {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let held = runtime.block_on(measure(number("TASKS", 100_000)));
    if held { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
