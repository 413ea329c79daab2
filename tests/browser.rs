//! The dashboard in a real browser: headless Chromium, where there is one.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail so")]
#![allow(unreachable_pub, reason = "a module of a test binary has no outside")]

mod common;
#[path = "browser/driver.rs"]
mod driver;

use std::net::TcpStream;
use std::path::PathBuf;
use std::time::Duration;

use common::Reserved;
use common::process::{Home, Process, real_time};
use driver::{Browser, Looks};
use serde_json::Value;
use taskwarden::sandbox::{Flavour, Sandbox, Settings, TaskScript};

const MOMENT: Duration = Duration::from_millis(50);
const REFUSED: &str = "dial tcp 192.0.2.7:443: connect: connection refused";

/// One attempt, and then it gives up; and a rule with a name that is not made for pages.
const RULES: &str = "
rules:
  - name: once
    match: { kind: offline_download, state: failed, error: connection refused }
    action: retry_some
    backoff: { initial: 1s, factor: 1, jitter: 0 }
    max_attempts: 1
  - name: \"<b>slow</b> & \\\"steady\\\"\"
    match: { kind: copy, state: failed, class: throttled }
    action: retry_some
    backoff: { initial: 1h, jitter: 0 }
    limits: none
";

/// The pages that every reader has.
const PAGES: [&str; 6] = ["/", "/actions", "/dead", "/rules", "/breakers", "/report"];

/// What somebody who may upload could call a file.
fn hostile_names() -> Vec<String> {
    vec![
        "<script>window.hacked=1</script>".to_owned(),
        "\"><img src=x onerror=window.hacked=1>".to_owned(),
        "' onmouseover='window.hacked=1' {{ 7*191 }} {% raw %}".to_owned(),
        "\u{202e}gpj.exe\u{2066}\u{200f}".to_owned(),
        "nul\0bell\u{7}\u{1b}[31mred\u{1b}]0;title\u{7}".to_owned(),
        format!("{}<script>window.hacked=1</script>", "x".repeat(10_000)),
        format!("长{}", "名字".repeat(300)),
    ]
}

struct Scene {
    sandbox: Sandbox,
    home: Home,
    daemon: Process,
    address: String,
    _reserved: Reserved,
}

impl Scene {
    /// A daemon with a dashboard, and a server with nothing to do.
    async fn start(listen: &str) -> Self {
        let sandbox =
            real_time(Settings::new(Flavour::OpenList).pool("offline_download", 20, 0)).await;
        let home = Home::new();
        let reserved = Reserved::new();
        let address = format!("127.0.0.1:{}", reserved.port());
        let servers = common::process::servers(&[("home", &sandbox)]);
        home.write_rules(&format!("{servers}listen: {{ address: '{address}'{listen} }}\n{RULES}"));
        let daemon = home.daemon(&["run"]);
        daemon.says("home: reached").await;
        // It listens from its start on, and who was first is not told.
        daemon.until("it listens", || TcpStream::connect(&address).is_ok()).await;
        Self { sandbox, home, daemon, address: format!("http://{address}"), _reserved: reserved }
    }

    fn fails(&self, name: &str, times: usize) -> String {
        let name = format!("download http://h.example/{name} to (/d)");
        let script = TaskScript::new("offline_download", name)
            .fails(times, MOMENT, REFUSED)
            .succeeds(MOMENT);
        self.sandbox.with_model(|model| model.add(script))
    }

    /// Has something of everything: actions, dead letters, waits, hostile names and errors.
    async fn fill(&self) -> String {
        let mut last = String::new();
        for name in hostile_names() {
            last = self.fails(&name, 2);
            let error = format!("Error 429: Too many requests {name}");
            let copy = TaskScript::new("copy", format!("copy [/a]({name}) to [/b](/)"));
            self.sandbox.with_model(|model| model.add(copy.fails(9, MOMENT, &error)));
        }
        self.daemon
            .until("all is given up", || {
                let rows = self.home.audit();
                rows.iter().filter(|row| row.action == "give_up").count() >= hostile_names().len()
            })
            .await;
        last
    }

    fn at(&self, path: &str) -> String {
        format!("{}{path}", self.address)
    }
}

/// What must hold of every page, however it is looked at; returns what does not.
const STRUCTURE: &str = r#"
    const wrong = [];
    const all = (css) => Array.from(document.querySelectorAll(css));
    const hold = (holds, what) => { if (!holds) wrong.push(what); };
    hold(document.documentElement.lang, "the language is said");
    hold(document.title.length > 3, "there is a title");
    hold(all("main").length === 1, "there is one main");
    hold(all("h1").length === 1, "there is one first heading");
    let level = 0;
    for (const heading of all("h1, h2, h3")) {
        const is = Number(heading.tagName[1]);
        hold(is <= level + 1, "headings go down one by one: " + heading.textContent);
        level = is;
    }
    for (const table of all("table")) {
        hold(table.caption, "a table has a caption");
        for (const th of table.querySelectorAll("th")) hold(th.scope, "a heading has a scope: " + th.textContent);
    }
    for (const field of all("input:not([type=hidden]):not([hidden]), select")) {
        hold(field.labels.length > 0, "a field has a label: " + field.name);
    }
    for (const control of all("button, a, summary")) {
        hold(control.textContent.trim(), "a control has a name: " + control.outerHTML);
    }
    for (const image of all("img")) hold(image.hasAttribute("alt"), "a picture has a text");
    for (const svg of all("svg")) hold(svg.getAttribute("aria-hidden") === "true", "drawings are beside a text");
    const ids = all("[id]").map((element) => element.id);
    hold(new Set(ids).size === ids.length, "an id is there once: " + ids);
    for (const element of all("[aria-labelledby], [aria-describedby]")) {
        const name = element.getAttribute("aria-labelledby") ?? element.getAttribute("aria-describedby");
        hold(document.getElementById(name), "it refers to something: " + name);
    }
    hold(all("[style], style, script:not([src])").length === 0, "nothing is inline");
    hold(all("*").every((e) => e.getAttributeNames().every((name) => !name.startsWith("on"))), "no handlers");
    const root = document.documentElement;
    hold(root.scrollWidth <= innerWidth, `it is ${root.scrollWidth} wide in ${innerWidth}`);
    hold(window.hacked === undefined, "no name runs");
    for (const said of all(":lang(zh) .sub > [lang=en]:not(.error), :lang(zh) .notice > [lang=en]")) {
        hold(false, "our own sentences are translated: " + said.textContent);
    }
    const text = document.body.innerText + all("[title]").map((e) => e.title).join();
    hold(!/[\0-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/.test(text), "no name turns the text around");
    hold(!/1337/.test(text), "no name is a template");
    return wrong;
"#;

/// What axe has to say against a page, where axe is here; CI fetches it.
const AXE: &str = r#"
    const done = arguments[arguments.length - 1];
    axe.run(document, { resultTypes: ["violations"] }).then((result) => done(
        result.violations.map((v) => `${v.id}: ${v.nodes.map((n) => n.target + " " + n.failureSummary).join("; ")}`)
    ), (error) => done([String(error)]));
"#;

#[allow(clippy::print_stdout, reason = "a test says what it leaves out")]
fn axe() -> Option<String> {
    let place = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("../axe/package/axe.min.js");
    let text = std::fs::read_to_string(place);
    if text.is_err() {
        println!("axe: skipped, `npm pack axe-core` was not unpacked into target/axe");
    }
    text.ok()
}

fn strings(value: &Value) -> Vec<&str> {
    value.as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_page_can_be_read_by_everyone_and_no_name_harms_it() {
    let Some(browser) = Browser::start().await else { return };
    let scene = Scene::start("").await;
    let task = scene.fill().await;
    let axe = axe();
    let pictures = std::env::var_os("PICTURES").map(PathBuf::from);
    let tasks = scene.home.audit().into_iter().filter_map(|row| row.task_id);
    let mut tasks: Vec<String> = tasks.map(|id| id.to_string()).collect();
    tasks.sort();
    tasks.dedup();
    assert!(tasks.contains(&task));
    let link = |id: &String| format!("/task?server=home&kind=offline_download&id={id}");
    let mut pages: Vec<String> = PAGES.iter().map(ToString::to_string).collect();
    pages.extend(tasks.iter().map(link));
    pages.extend(["/nothing".to_owned(), "/actions?limit=0".to_owned()]);
    let looks = [Looks::default(), Looks { width: 360, dark: true, language: "zh-CN" }];
    for look in looks {
        browser.look(look).await;
        for (number, page) in pages.iter().enumerate() {
            browser.open(&scene.at(page)).await;
            let wrong = browser.run(STRUCTURE).await;
            assert_eq!(strings(&wrong), Vec::<&str>::new(), "{page} {look:?}");
            let missing = number >= pages.len() - 2;
            let complaints = browser.complaints().await;
            assert!(complaints.is_empty() || missing, "{page}: {complaints:?}");
            // One task's page is like another's.
            if let Some(axe) = &axe
                && (number <= PAGES.len() || missing)
            {
                browser.run(axe).await;
                let violations = browser.run_async(AXE).await;
                assert_eq!(strings(&violations), Vec::<&str>::new(), "{page} {look:?}");
            }
            if let Some(folder) = &pictures {
                let name = format!("{number}-{}-{}.png", look.width, look.language);
                browser.picture(&folder.join(name)).await;
            }
        }
    }
    let text = browser.text("body").await;
    assert!(!text.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_page_shows_what_happens_and_does_what_is_asked() {
    let Some(browser) = Browser::start().await else { return };
    let scene = Scene::start("").await;
    browser.open(&scene.at("/")).await;
    browser.until("document.getElementById('pulse').dataset.is === 'on'").await;
    browser.run("window.stays = true").await;

    // What happens appears in the page that is open, is said, and counts down.
    let task = scene.fails("film.mkv", 2);
    browser.until("document.querySelector('#latest').textContent.includes('film.mkv')").await;
    browser.until("document.querySelector('#latest').textContent.includes('give up')").await;
    browser.until("document.getElementById('spoken').textContent.includes('film.mkv')").await;
    browser.until("document.querySelector('#servers dd:last-of-type') !== null").await;
    assert_eq!(browser.run("return window.stays").await, true, "without loading it again");
    let ago =
        "Array.from(document.querySelectorAll('#servers time[data-ago]'), (t) => t.textContent)";
    browser.until(&format!("{ago}.some((text) => /\\d/.test(text) || text === 'now')")).await;

    // From the name to the task, and back to what was given up.
    browser.click("#latest a.task").await;
    browser.until("location.pathname === '/task'").await;
    browser.shows("#story", "give up").await;
    browser.shows("#explain", "has given it up").await;

    browser.open(&scene.at("/dead")).await;
    browser.shows("#dead", "film.mkv").await;
    browser.click("form[action='/dead/redrive'] button").await;
    browser.until("document.querySelector('[role=status]')").await;
    browser.shows("[role=status]", "tried again").await;
    browser
        .until("document.querySelector('#dead').textContent.includes('Nothing is given up')")
        .await;
    scene
        .daemon
        .until("it came through", || {
            let state = scene.sandbox.with_model(|model| model.state(&task));
            state == Some(taskwarden::sandbox::State::Succeeded)
        })
        .await;

    // A rule rests for as long as is asked, with the reason for all to read.
    browser.open(&scene.at("/rules")).await;
    browser.click("#pause-1 summary").await;
    browser.type_into("#why-1", "the <b>drive</b> moves").await;
    browser.click("#pause-1 button").await;
    browser.until("document.querySelector('form[action=\"/rules/resume\"]')").await;
    let text = browser.text("#rules").await;
    assert!(text.contains("the <b>drive</b> moves"), "{text}");
    assert!(text.contains("paused, goes on in "), "{text}");
    browser.click("form[action='/rules/resume'] button").await;
    browser.until("!document.querySelector('form[action=\"/rules/resume\"]')").await;

    // The language is kept from page to page.
    browser.click(".tools a[hreflang]").await;
    browser.until("document.documentElement.lang === 'zh-Hans'").await;
    browser.open(&scene.at("/")).await;
    browser.shows("nav", "总览").await;
    assert_eq!(browser.complaints().await, Vec::<String>::new());
    let actions: Vec<String> = scene.home.audit().into_iter().map(|row| row.action).collect();
    for asked in ["redrive", "pause", "resume"] {
        assert!(actions.iter().any(|action| action == asked), "{actions:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_script_everything_can_be_read_and_done() {
    let Some(browser) = Browser::start().await else { return };
    let scene = Scene::start(", token: 'open sesame'").await;
    scene.fails("film.mkv", 9);
    scene.home.one_is_given_up(&scene.daemon).await;
    browser.script(false).await;

    // It takes the token to come in, and leads to where one wanted to go.
    browser.open(&scene.at("/dead")).await;
    browser.type_into("#token", "open the door").await;
    browser.click("button.main").await;
    browser.shows("[role=alert]", "not the token").await;
    browser.type_into("#token", "open sesame").await;
    browser.click("button.main").await;
    browser.until("location.pathname === '/dead'").await;
    browser.shows("#dead", "film.mkv").await;

    browser.click("#drop-1 summary").await;
    browser.click("#drop-1 button").await;
    browser.shows("[role=status]", "put away").await;
    browser.shows("#dead", "Nothing is given up").await;

    browser.open(&scene.at("/rules")).await;
    browser.click("#pause-1 summary").await;
    browser.click("#pause-1 button").await;
    browser.shows("#rules", "paused, goes on").await;
    browser.open(&scene.at("/actions?action=pause")).await;
    browser.shows("#actions", "once").await;

    browser.click("form[action='/logout'] button").await;
    browser.until("location.pathname === '/login'").await;
    browser.open(&scene.at("/")).await;
    assert!(browser.url().await.contains("/login"), "{}", browser.url().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_only_read_is_offered_nothing_else() {
    let Some(browser) = Browser::start().await else { return };
    let scene = Scene::start(", read_only: true").await;
    scene.fill().await;
    for page in PAGES {
        browser.open(&scene.at(page)).await;
        let wrong = browser.run(STRUCTURE).await;
        assert_eq!(strings(&wrong), Vec::<&str>::new(), "{page}");
        let forms = "return document.querySelectorAll('form[method=post]').length";
        assert_eq!(browser.run(forms).await, 0, "{page}");
        browser.shows("body", "read only").await;
    }
    browser.open(&scene.at("/dead")).await;
    browser.shows("#dead", "connection refused").await;
    // Nor does one get anywhere who asks all the same.
    let asked = "
        const done = arguments[arguments.length - 1];
        fetch('/rules/pause', {
            method: 'POST',
            headers: { 'Content-Type': 'application/x-www-form-urlencoded' },
            body: new URLSearchParams({ rule: 'once', csrf: 'x' }),
        }).then((answer) => done(answer.status), (error) => done(String(error)));
    ";
    assert_eq!(browser.run_async(asked).await, 403);
    let actions: Vec<String> = scene.home.audit().into_iter().map(|row| row.action).collect();
    assert!(!actions.iter().any(|action| action == "pause"), "{actions:?}");
}
