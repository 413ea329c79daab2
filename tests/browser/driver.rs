//! A real browser, steered over the `WebDriver` protocol.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use taskwarden::ambient::{http_client_builder, monotonic};

/// The longest that anything is waited for.
const DEADLINE: Duration = Duration::from_secs(60);

/// Headless Chromium with one tab. It ends when this is dropped.
#[derive(Debug)]
pub struct Browser {
    driver: Child,
    client: reqwest::Client,
    /// The driver's address, with the session once there is one.
    session: String,
}

/// How a page is looked at.
#[derive(Clone, Copy, Debug)]
pub struct Looks {
    pub width: u32,
    pub dark: bool,
    pub language: &'static str,
}

impl Default for Looks {
    fn default() -> Self {
        Self { width: 1280, dark: false, language: "en" }
    }
}

fn program(names: &[&str]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    names.iter().find_map(|name| folders.iter().map(|dir| dir.join(name)).find(|p| p.is_file()))
}

impl Browser {
    /// Starts one; `None`, and a word of it, where there is none on this machine.
    #[allow(clippy::print_stdout, reason = "a test says that it is skipped")]
    pub async fn start() -> Option<Self> {
        let chromium = program(&["chromium", "chromium-browser", "google-chrome"]);
        let (Some(chromium), Some(driver)) = (chromium, program(&["chromedriver"])) else {
            println!("skipped: there is no chromium with a chromedriver here");
            return None;
        };
        let mut driver = Command::new(driver)
            .arg("--port=0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(driver.stdout.take().unwrap()).lines();
        let port = lines.find_map(|line| {
            let line = line.ok()?;
            let (_, port) = line.split_once("started successfully on port ")?;
            Some(port.trim_end_matches('.').to_owned())
        });
        let port = port.expect("chromedriver says where it listens");
        // What it says later is read as well, or it would wait for a reader.
        std::thread::spawn(move || lines.for_each(drop));
        let client = http_client_builder().no_proxy().timeout(DEADLINE * 2).build().unwrap();
        let mut browser = Self { driver, client, session: format!("http://127.0.0.1:{port}") };
        let answer = browser
            .post(
                "/session",
                json!({ "capabilities": { "alwaysMatch": {
                    "goog:loggingPrefs": { "browser": "ALL" },
                    "goog:chromeOptions": {
                        "binary": chromium,
                        "args": [
                            "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
                            "--disable-dev-shm-usage", "--no-first-run", "--disable-extensions",
                            "--disable-background-networking", "--no-proxy-server",
                        ],
                    },
                } } }),
            )
            .await;
        browser.session += "/session/";
        browser.session += answer["sessionId"].as_str().unwrap();
        browser.look(Looks::default()).await;
        Some(browser)
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Result<Value, String> {
        let answer = request.send().await.map_err(|error| error.to_string())?;
        let mut answer: Value = answer.json().await.map_err(|error| error.to_string())?;
        let value = answer["value"].take();
        if value["error"].is_string() { Err(value.to_string()) } else { Ok(value) }
    }

    async fn post(&self, path: &str, body: Value) -> Value {
        self.try_post(path, &body).await.unwrap_or_else(|why| panic!("{path} {body}: {why}"))
    }

    async fn try_post(&self, path: &str, body: &Value) -> Result<Value, String> {
        self.send(self.client.post(format!("{}{path}", self.session)).json(body)).await
    }

    /// Says something to the browser in its own protocol.
    pub async fn devtools(&self, command: &str, params: Value) -> Value {
        self.post("/goog/cdp/execute", json!({ "cmd": command, "params": params })).await
    }

    /// From the next page on it is looked at so.
    pub async fn look(&self, looks: Looks) {
        let Looks { width, dark, language } = looks;
        let scheme = if dark { "dark" } else { "light" };
        let mobile = width < 500;
        let height = if mobile { 740 } else { 900 };
        self.devtools(
            "Emulation.setDeviceMetricsOverride",
            json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": mobile }),
        )
        .await;
        let feature = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        self.devtools("Emulation.setEmulatedMedia", json!({ "features": feature })).await;
        let agent = json!({ "userAgent": "taskwarden-test", "acceptLanguage": language });
        self.devtools("Emulation.setUserAgentOverride", agent).await;
    }

    /// Whether pages may run their script from now on.
    pub async fn script(&self, on: bool) {
        self.devtools("Emulation.setScriptExecutionDisabled", json!({ "value": !on })).await;
    }

    pub async fn open(&self, url: &str) {
        self.post("/url", json!({ "url": url })).await;
    }

    pub async fn url(&self) -> String {
        let url = self.send(self.client.get(format!("{}/url", self.session))).await.unwrap();
        url.as_str().unwrap().to_owned()
    }

    /// What a function body comes to in the page.
    pub async fn run(&self, body: &str) -> Value {
        self.post("/execute/sync", json!({ "script": body, "args": [] })).await
    }

    /// The same for a body that calls its last argument when it is done.
    pub async fn run_async(&self, body: &str) -> Value {
        self.post("/execute/async", json!({ "script": body, "args": [] })).await
    }

    /// The text that a reader sees of the first such element.
    pub async fn text(&self, css: &str) -> String {
        let body = format!("return document.querySelector({css:?})?.innerText ?? ''");
        self.run(&body).await.as_str().unwrap_or_default().to_owned()
    }

    async fn find(&self, css: &str) -> Result<String, String> {
        let body = json!({ "using": "css selector", "value": css });
        let element = self.try_post("/element", &body).await?;
        let id = element.as_object().and_then(|object| object.values().next().cloned());
        Ok(id.unwrap().as_str().unwrap().to_owned())
    }

    /// Presses the element as a reader would: it must be there and in sight.
    pub async fn click(&self, css: &str) {
        self.retry(css, async || {
            let id = self.find(css).await?;
            self.try_post(&format!("/element/{id}/click"), &json!({})).await
        })
        .await;
    }

    /// Types into a field.
    pub async fn type_into(&self, css: &str, text: &str) {
        self.retry(css, async || {
            let id = self.find(css).await?;
            self.try_post(&format!("/element/{id}/value"), &json!({ "text": text })).await
        })
        .await;
    }

    /// A page may be replaced while it is dealt with.
    async fn retry(&self, what: &str, attempt: impl AsyncFn() -> Result<Value, String>) {
        let began = monotonic();
        loop {
            match attempt().await {
                Ok(_) => return,
                Err(why) => assert!(began.elapsed() < DEADLINE, "{what}: {why}"),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until an expression is true in the page.
    pub async fn until(&self, expression: &str) {
        let began = monotonic();
        let question = json!({ "script": format!("return Boolean({expression})"), "args": [] });
        // While one page takes the place of another there may be none to ask.
        while self.try_post("/execute/sync", &question).await != Ok(Value::Bool(true)) {
            if began.elapsed() > DEADLINE {
                let text = self.text("body").await;
                panic!("not in {DEADLINE:?}: {expression}\n{}\n{text}", self.url().await);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until the first such element has this in its text: a page comes some time after the click.
    pub async fn shows(&self, css: &str, text: &str) {
        self.until(&format!(
            "document.querySelector({css:?})?.innerText.includes({})",
            json!(text)
        ))
        .await;
    }

    /// What the console said since it was last asked: errors of scripts, refused styles, lost files.
    pub async fn complaints(&self) -> Vec<String> {
        let log = self.post("/se/log", json!({ "type": "browser" })).await;
        log.as_array()
            .unwrap()
            .iter()
            .map(|entry| entry["message"].as_str().unwrap_or_default().to_owned())
            .collect()
    }

    /// Writes down what the page looks like, from top to bottom.
    pub async fn picture(&self, path: &Path) {
        let size = self.devtools("Page.getLayoutMetrics", json!({})).await;
        let size = &size["cssContentSize"];
        let clip = json!({
            "x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1
        });
        let params = json!({ "format": "png", "captureBeyondViewport": true, "clip": clip });
        let picture = self.devtools("Page.captureScreenshot", params).await;
        std::fs::write(path, unbase64(picture["data"].as_str().unwrap())).unwrap();
    }
}

fn unbase64(text: &str) -> Vec<u8> {
    let value = |c: u8| match c {
        b'A'..=b'Z' => c - b'A',
        b'a'..=b'z' => c - b'a' + 26,
        b'0'..=b'9' => c - b'0' + 52,
        b'+' => 62,
        _ => 63,
    };
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    for four in text.trim_end_matches('=').as_bytes().chunks(4) {
        let bits = four.iter().fold(0u32, |bits, c| bits << 6 | u32::from(value(*c)));
        let bits = bits << (6 * (4 - four.len()));
        bytes.extend(&bits.to_be_bytes()[1..four.len()]);
    }
    bytes
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The driver takes its browser with it.
        let session = self.session.clone();
        let _ = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async {
                let client = http_client_builder().no_proxy().timeout(DEADLINE).build().unwrap();
                let _ = client.delete(session).send().await;
            });
        })
        .join();
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}
