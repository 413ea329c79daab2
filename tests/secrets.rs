//! Secrets of the running daemon: that they can change, who else can read them, and where they never
//! show.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail so")]

mod common;

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use common::process::{Home, real_time, report, run};
use taskwarden::sandbox::{Flavour, Sandbox, Settings, TaskScript};

const RULES: &str = "rules: [{ name: r, match: { state: failed }, action: notify }]\n";

/// Puts a secret in place as a careful tool does: beside the old one, then over it.
fn put(file: &Path, secret: &str, mode: u32) {
    let new = file.with_extension("new");
    std::fs::write(&new, format!("{secret}\n")).unwrap();
    std::fs::set_permissions(&new, std::fs::Permissions::from_mode(mode)).unwrap();
    std::fs::rename(&new, file).unwrap();
}

async fn server() -> (Sandbox, Home) {
    let sandbox = real_time(Settings::new(Flavour::OpenList)).await;
    let home = Home::new();
    home.write_rules(&format!(
        "version: 1\nservers: [{{ name: home, url: '{}', token: {{ file: token }}, poll: 1s }}]\n{RULES}",
        sandbox.url()
    ));
    (sandbox, home)
}

const OPEN: &str = "everyone on this machine can read the secret file";

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_can_change_and_is_told_of_when_everyone_can_read_it() {
    let (sandbox, home) = server().await;
    put(&home.file("token"), sandbox.token(), 0o644);
    let daemon = home.daemon(&["run"]);
    daemon.says(OPEN).await;
    daemon.says("home: reached").await;
    // Changed while the file is closed: nothing need be said, and no restart is needed. The server
    // answers nobody while both sides change.
    sandbox.with_model(|model| {
        put(&home.file("token"), "the-next-token", 0o600);
        model.reset_admin_token("the-next-token");
        let name = "download http://x.example/f.bin to (/d)";
        model.add(TaskScript::new("offline_download", name).fails(9, Duration::ZERO, "EOF"))
    });
    daemon.says("notify `").await;
    assert_eq!(daemon.times_said("refused"), 0, "{}", daemon.said());
    assert_eq!(daemon.times_said(OPEN), 1, "{}", daemon.said());
    // A look ends with one at the file; that the next one has begun shows that it was found closed.
    let calls = report(&sandbox).calls.len();
    daemon.until("it is looked at again", || report(&sandbox).calls.len() > calls).await;
    // And open once more.
    put(&home.file("token"), "the-next-token", 0o604);
    daemon.until("it is told again", || daemon.times_said(OPEN) == 2).await;
    let said = daemon.terminate().await;
    assert!(!said.contains("next-token") && !said.contains(sandbox.token()), "{said}");
    let state = String::from_utf8_lossy(&home.state_bytes()).into_owned();
    assert!(!state.contains("next-token") && !state.contains(sandbox.token()));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_process_shows_a_secret_to_those_who_list_them() {
    let (sandbox, home) = server().await;
    put(&home.file("token"), sandbox.token(), 0o600);
    let service = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let text = std::fs::read_to_string(home.rules()).unwrap();
    put(
        &home.file("topic"),
        &format!("http://{}/hidden-topic", service.local_addr().unwrap()),
        0o600,
    );
    home.write_rules(&format!(
        "{text}notify: [{{ name: hook, service: webhook, url: {{ file: topic }}, digest: '* * * * *' }}]\n"
    ));
    let daemon = home.daemon(&["run"]);
    daemon.says("home: reached").await;
    let secrets = [sandbox.token(), "hidden-topic"];
    let proc = Path::new("/proc").join(daemon.id().to_string());
    for name in ["cmdline", "environ"] {
        // The test harness has given its own environment the token of another server.
        let shown = String::from_utf8_lossy(&std::fs::read(proc.join(name)).unwrap()).into_owned();
        assert!(
            name == "environ" || !secrets.iter().any(|secret| shown.contains(secret)),
            "{shown}"
        );
        assert!(!shown.contains("hidden-topic"), "{shown}");
    }
    // Nor has it any child that could.
    for thread in std::fs::read_dir(proc.join("task")).unwrap() {
        let children = std::fs::read_to_string(thread.unwrap().path().join("children"));
        assert_eq!(children.unwrap_or_default(), "");
    }
    // The commands that speak with it or with the servers are given none either, so there is nothing
    // to take as an argument: one that looks like a secret is refused without being repeated.
    let ran = run(home.taskwarden(&["run", "--token", "hidden-topic"]));
    assert_eq!(ran.code, Some(2));
    assert!(ran.err.contains("--token"), "{}", ran.err);
    daemon.terminate().await;
}
