//! Work for a sandbox: a lively mix for `demo`, and long queues for tests.
//!
//! All spans are virtual time. Nothing here has happened anywhere: the hosts, names, passwords and
//! signatures are made up.

use std::time::Duration;

use super::accounts::later;
use super::model::Model;
use super::rng::Rng;
use super::script::{AttemptScript, TaskScript, Throttle};
use super::settings::{Flavour, Settings};
use super::task::State;

/// The archive password that stands in the name of one of the demo's tasks. No output of a client may
/// ever show it.
pub const DEMO_PASSWORD: &str = "hunter2 <correct>horse>";
/// The URL signature that stands in the name of one of the demo's tasks. No output of a client may
/// ever show it.
pub const DEMO_SIGNATURE: &str = "c2FuZGJveC1zaWduYXR1cmU";

const MIB: u64 = 1 << 20;
const NOT_FOUND: &str = "http status code 404";
/// Failures that go away, in the servers' own words.
const PASSING: [&str; 5] = [
    "http status code 503",
    "http status code 502",
    "Get \"http://mirror.example/file\": dial tcp 192.0.2.7:443: i/o timeout",
    "read tcp 10.0.0.2:51544->192.0.2.7:443: read: connection reset by peer",
    "Get \"http://mirror.example/file\": context deadline exceeded (Client.Timeout exceeded while \
     awaiting headers)",
];

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const fn mins(minutes: u64) -> Duration {
    Duration::from_secs(60 * minutes)
}

/// A server for [`demo_scenario`]: two drives that throttle, and pools small enough to queue.
///
/// It does not retry downloads and copies by itself, so that every failure is there to be seen.
#[must_use]
pub fn demo_settings(flavour: Flavour) -> Settings {
    let mut settings = Settings::new(flavour).pool("offline_download", 4, 0).pool("copy", 5, 0);
    settings.throttles = vec![
        Throttle {
            mount: "/drive".to_owned(),
            starts_per_minute: 3,
            ban: mins(8),
            prolong: true,
            error: "failed to upload: googleapi: Error 429: Too many requests, \
                    retryAfterSeconds: {seconds}"
                .to_owned(),
        },
        Throttle {
            mount: "/网盘".to_owned(),
            starts_per_minute: 2,
            ban: mins(5),
            prolong: false,
            error: "操作过于频繁，已触发风控，请稍后再试".to_owned(),
        },
    ];
    settings
}

/// Fills a server made with [`demo_settings`] with an hour of virtual time, which at 60 times the
/// speed is a minute of real time: tasks to clean up that are over already, work that starts now,
/// and more that arrives later.
pub fn demo_scenario(model: &mut Model) {
    let start = model.now();
    let at = |minute: u64| later(start, mins(minute));

    for n in 1..=6 {
        let copy = copy(&format!("/photos/2025/img_{n:03}.jpg"), "/backup", "/photos");
        model.add_finished(copy.bytes(3 * MIB), State::Succeeded, "");
        let upload = TaskScript::new("upload", format!("upload scan {n}.pdf to [/docs](/inbox)"));
        model.add_finished(upload.bytes(MIB), State::Succeeded, "");
    }
    let archive = download("http://mirror.example/old/archive.iso");
    model.add_finished(archive, State::Failed, PASSING[0]);

    // Downloads that come through on the third try.
    for (n, errors) in PASSING.windows(2).enumerate() {
        let file = format!("http://mirror.example/linux/disc-{n}.iso");
        let [first, second] =
            [AttemptScript::fail(secs(15), errors[0]), AttemptScript::fail(secs(40), errors[1])];
        let script = download(&file).then(first).then(second).succeeds(mins(3));
        let script = with_transfer(script, &format!("disc-{n}.iso"));
        model.add_at(at(4 * u64::try_from(n).unwrap_or(0)), script);
    }
    // One that needs patience, and one that is hopeless.
    model.add(
        download("http://slow.example/video.mkv").fails(6, secs(30), PASSING[2]).succeeds(mins(2)),
    );
    model.add(download("http://mirror.example/gone/missing.bin").fails(1, secs(0), NOT_FOUND));
    // The peer falls silent: only a cancel ends it, and another try goes well.
    let stalled = download("http://quiet.example/big.tar").then(AttemptScript::stall(mins(2)));
    model.add(stalled.succeeds(mins(4)));
    // Names that hold secrets.
    let signed = format!(
        "https://cdn.example/private/report.pdf?X-Amz-Expires=900&X-Amz-Signature={DEMO_SIGNATURE}"
    );
    model.add(download(&signed).fails(1, secs(20), PASSING[3]).succeeds(mins(1)));
    let archive = format!(
        "decompress [/docs](/in/ledger.7z)[/] to [/docs](/out) with password <{DEMO_PASSWORD}>"
    );
    model.add(
        TaskScript::new("decompress", archive)
            .bytes(40 * MIB)
            .fails(3, secs(10), "failed to open archive: unexpected EOF")
            .succeeds(mins(1)),
    );
    // A drive that bans those who start too much at once, and one that says so in Chinese.
    for n in 1..=8 {
        let file = format!("/series/season 1/episode {n:02}.mkv");
        model.add_at(at(2), copy(&file, "/drive", "/series").on("/drive").succeeds(secs(50)));
    }
    for n in 1..=4 {
        let file = format!("/电影/第{n}部.mkv");
        model.add_at(at(6), copy(&file, "/网盘", "/电影").on("/网盘").succeeds(secs(70)));
    }
    // Work that is simply fine, all along.
    for n in 0..12 {
        let file = format!("/photos/2026/img_{n:03}.jpg");
        model.add_at(at(5 * n), copy(&file, "/backup", "/photos").succeeds(mins(2)));
    }
}

fn download(url: &str) -> TaskScript {
    TaskScript::new("offline_download", format!("download {url} to (/downloads)")).bytes(700 * MIB)
}

fn copy(file: &str, mount: &str, folder: &str) -> TaskScript {
    TaskScript::new("copy", format!("copy [/local]({file}) to [{mount}]({folder})"))
        .bytes(200 * MIB)
}

/// A finished download leaves a transfer from the server's own folder behind it.
fn with_transfer(script: TaskScript, file: &str) -> TaskScript {
    let name = format!(
        "transfer [](/opt/openlist/data/temp/SimpleHttp/4d47c8b9-222b-4c8d-bbc1-4fa61c7817fb/{file}) \
         to [/downloads](/)"
    );
    let transfer = TaskScript::new("offline_download_transfer", name).bytes(script.total_bytes);
    TaskScript { follow_up: Some(Box::new(transfer.succeeds(secs(20)))), ..script }
}

/// The ids of the tasks of [`flaky_queue`], by their fate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FlakyQueue {
    /// Succeed at once.
    pub fine: Vec<String>,
    /// Fail one to four times, then succeed.
    pub flaky: Vec<String>,
    /// Fail with a 404 for ever.
    pub hopeless: Vec<String>,
}

/// Adds `n` downloads in an order drawn from `seed`: `flaky` of them fail one to four times for a
/// passing reason before they succeed, `hopeless` of them always fail, the rest is fine. Each attempt
/// takes up to 30 virtual seconds.
pub fn flaky_queue(
    model: &mut Model,
    n: usize,
    flaky: usize,
    hopeless: usize,
    seed: u64,
) -> FlakyQueue {
    let mut rng = Rng::new(seed);
    let mut order: Vec<usize> = (0..n).collect();
    rng.shuffle(&mut order);
    let mut queue = FlakyQueue::default();
    for fate in order {
        let script = download(&format!("http://mirror.example/queue/{fate}.bin"));
        let mut lasts = || secs(1 + rng.next() % 30);
        if fate < flaky {
            let duration = lasts();
            let times = 1 + rng.below(4);
            let error = PASSING[rng.below(PASSING.len())];
            let script = script.fails(times, duration, error).succeeds(duration);
            queue.flaky.push(model.add(script));
        } else if fate < flaky.saturating_add(hopeless) {
            let script = script.fails(1, lasts(), NOT_FOUND);
            queue.hopeless.push(model.add(script));
        } else {
            let script = script.succeeds(lasts());
            queue.fine.push(model.add(script));
        }
    }
    queue
}
