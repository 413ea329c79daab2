//! What the service manager is told, by a daemon that runs as a process of its own.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests may unwrap")]

mod common;

use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use common::process::{DEADLINE, Home, Process, real_time, run};
use taskwarden::ambient::monotonic;
use taskwarden::sandbox::{Fault, FaultPlan, Flavour, Sandbox, Settings};

const RULES: &str = "rules: [{ name: r, match: { state: failed }, action: notify }]\n";

/// A service manager that hears what the daemon says.
struct Manager(UnixDatagram);

impl Manager {
    fn new(home: &Home) -> Self {
        let socket = UnixDatagram::bind(home.file("notify")).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        Self(socket)
    }

    /// The next message, if one comes soon.
    fn next(&self) -> Option<String> {
        let mut buffer = [0; 4096];
        let length = self.0.recv(&mut buffer).ok()?;
        Some(String::from_utf8(buffer[..length].to_vec()).unwrap())
    }

    /// Waits for a message with this line; gives back the whole of it.
    fn hears(&self, line: &str) -> String {
        let began = monotonic();
        let mut heard = Vec::new();
        while began.elapsed() < DEADLINE {
            let Some(message) = self.next() else { continue };
            if message.lines().any(|said| said == line) {
                return message;
            }
            heard.push(message);
        }
        panic!("never heard {line}, but {heard:#?}");
    }
}

fn start(home: &Home) -> Process {
    let mut command: Command = home.taskwarden(&["run"]);
    command.env("NOTIFY_SOCKET", home.file("notify")).env("WATCHDOG_USEC", "3000000");
    Process::start(command)
}

async fn openlist() -> Sandbox {
    real_time(Settings::new(Flavour::OpenList)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_manager_hears_of_start_reload_and_end() {
    let sandbox = openlist().await;
    let home = Home::on(&sandbox, RULES);
    let manager = Manager::new(&home);
    let mut daemon = start(&home);
    let ready = manager.hears("READY=1");
    assert!(ready.contains("STATUS=looking after 1 server by 1 rule"), "{ready}");
    manager.hears("STATUS=home: 0 tasks");
    manager.hears("WATCHDOG=1");
    daemon.signal("HUP");
    let reloading = manager.hears("RELOADING=1");
    assert!(reloading.contains("MONOTONIC_USEC="), "{reloading}");
    manager.hears("READY=1");
    // A broken file ends the reload too, or the manager would wait for it.
    home.write_rules("version: 2\n");
    manager.hears("STATUS=the rules file has errors; the old rules stay in force");
    daemon.signal("TERM");
    manager.hears("STOPPING=1");
    assert!(daemon.ends().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_can_be_a_credential_of_the_service() {
    let sandbox = openlist().await;
    let home = Home::new();
    let rules = format!(
        "version: 1\nservers: [{{ name: home, url: {}, token: {{ credential: openlist }}, poll: 1s }}]\n{RULES}",
        sandbox.url()
    );
    home.write_rules(&rules);
    // Without a service manager that hands it over it cannot start, and says what is missing.
    let ran = run(home.taskwarden(&["run"]));
    assert_eq!(ran.code, Some(78), "{}", ran.err);
    assert!(ran.err.contains("LoadCredential=openlist:PATH"), "{}", ran.err);
    std::fs::create_dir(home.file("credentials")).unwrap();
    std::fs::write(home.file("credentials/openlist"), format!("{}\n", sandbox.token())).unwrap();
    let manager = Manager::new(&home);
    let mut command = home.taskwarden(&["run"]);
    command.env("NOTIFY_SOCKET", home.file("notify"));
    command.env("CREDENTIALS_DIRECTORY", home.file("credentials"));
    let mut daemon = Process::start(command);
    manager.hears("STATUS=home: 0 tasks");
    daemon.signal("TERM");
    assert!(daemon.ends().await.success());
    assert!(!daemon.said().contains(sandbox.token()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_hangs_is_no_stuck_loop() {
    let sandbox = openlist().await;
    sandbox.with_model(|model| {
        model.faults().plan(FaultPlan {
            rate: 1.0,
            faults: vec![Fault::Hang(None)],
            only: None,
            phase: None,
            seed: 1,
        });
    });
    let home = Home::on(&sandbox, RULES);
    let manager = Manager::new(&home);
    let mut daemon = start(&home);
    for _ in 0..3 {
        manager.hears("WATCHDOG=1");
    }
    daemon.signal("TERM");
    daemon.ends().await;
}

/// Set for the child: the folder it runs in.
#[cfg(debug_assertions)]
const CHILD: &str = "WATCHDOG_TEST_FOLDER";

/// No test: the daemon, with a loop that hangs when it is about to act.
#[cfg(debug_assertions)]
#[test]
fn a_daemon_whose_loop_hangs() {
    use clap::Parser as _;

    let Ok(folder) = std::env::var(CHILD) else { return };
    taskwarden::ambient::at_fault_points(|name| {
        if name == "intents written" {
            println!("it hangs");
            loop {
                std::thread::park();
            }
        }
    });
    let folder = Path::new(&folder);
    let (rules, state) = (folder.join("rules.yaml"), folder.join("state"));
    let words = [
        "taskwarden".as_ref(),
        "run".as_ref(),
        "--config".as_ref(),
        rules.as_os_str(),
        "--state-dir".as_ref(),
        state.as_os_str(),
    ];
    let _ = taskwarden::cli::main(taskwarden::cli::Args::parse_from(words));
}

#[cfg(debug_assertions)]
#[tokio::test(flavor = "multi_thread")]
async fn a_loop_that_hangs_starves_the_watchdog() {
    const WATCHDOG: Duration = Duration::from_secs(6);
    let sandbox = openlist().await;
    let home = Home::on(&sandbox, &RULES.replace("notify", "retry_some, backoff: { initial: 1s }"));
    let manager = Manager::new(&home);
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "a_daemon_whose_loop_hangs", "--nocapture"]);
    command.env(CHILD, home.path()).env("NOTIFY_SOCKET", home.file("notify"));
    command.env("WATCHDOG_USEC", WATCHDOG.as_micros().to_string()).env_remove("WATCHDOG_PID");
    command.env("SANDBOX_TOKEN_OPENLIST", sandbox.token());
    let daemon = Process::start(command);
    // Well fed for longer than the watchdog would wait, while nothing is to be done.
    let began = monotonic();
    while began.elapsed() < WATCHDOG {
        manager.hears("WATCHDOG=1");
    }
    sandbox.with_model(|model| {
        let name = "download http://h.example/f to (/d)";
        let moment = Duration::from_millis(10);
        model.add(
            taskwarden::sandbox::TaskScript::new("offline_download", name).fails(9, moment, "EOF"),
        )
    });
    daemon.until("the loop hangs", || daemon.printed().contains("it hangs")).await;
    // It may be fed until the loop counts as stuck, and then no more: systemd starts it anew.
    let hung = monotonic();
    let mut fed = hung;
    while fed.elapsed() < WATCHDOG {
        assert!(hung.elapsed() < WATCHDOG * 3, "it is fed on and on");
        if manager.next().is_some_and(|said| said.contains("WATCHDOG=1")) {
            fed = monotonic();
        }
    }
    daemon.kill();
    // The next one takes up what was begun.
    let mut daemon = start(&home);
    manager.hears("READY=1");
    manager.hears("STATUS=home: 1 task");
    daemon.signal("TERM");
    assert!(daemon.ends().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_is_for_people_for_the_journal_or_for_machines() {
    let sandbox = openlist().await;
    // With a warning, which is a record too.
    let home = Home::on(&sandbox, &format!("rule_files: [none/*.yaml]\n{RULES}"));
    for (format, journal, shape) in [
        ("auto", false, " INFO looking after 1 server with 1 rule"),
        ("auto", true, "<6>looking after 1 server with 1 rule"),
        ("logfmt", true, " level=info event=server_reached server=home msg=\"home: reached"),
        (
            "json",
            false,
            "\"level\":\"info\",\"event\":\"server_reached\",\"server\":\"home\",\"msg\"",
        ),
    ] {
        let mut command = home.taskwarden(&["run", "--log-format", format]);
        if journal {
            command.env("JOURNAL_STREAM", "8:1");
        } else {
            command.env_remove("JOURNAL_STREAM");
        }
        let daemon = Process::start(command);
        daemon.says(shape).await;
        let said = daemon.terminate().await;
        let plain = "\nwarning[no-rule-files]";
        let (as_people_read, as_record) =
            (format!("\n{said}").contains(plain), said.contains(": warning["));
        assert_eq!(
            (as_people_read, as_record),
            (format == "auto" && !journal, format != "auto" || journal),
            "{said}"
        );
        if format == "json" {
            for line in said.lines() {
                let record: serde_json::Value = serde_json::from_str(line).unwrap();
                assert!(record["msg"].is_string(), "{line}");
            }
        }
    }
}

#[test]
fn the_units_are_alike_and_speak_of_what_there_is() {
    let read = |name: &str| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd").join(name);
        std::fs::read_to_string(path).unwrap()
    };
    let (unit, template) = (read("taskwarden.service"), read("taskwarden@.service"));
    for line in ["Type=notify-reload", "RestartPreventExitStatus=78", "WatchdogSec=3min"] {
        assert!(unit.lines().any(|said| said == line), "{line}");
    }
    // The template differs in its names only.
    let plain = |text: &str| -> Vec<String> {
        text.lines().filter(|line| !line.contains("%i")).map(str::to_owned).collect()
    };
    let of_template = plain(&template);
    let own: Vec<String> =
        plain(&unit).into_iter().filter(|line| !of_template.contains(line)).collect();
    assert_eq!(own.len(), template.lines().count() - of_template.len(), "{own:#?}");
}
