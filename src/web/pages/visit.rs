//! Who looks at a page, and the frame that every page has around it.

use axum::extract::{FromRef, FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::json;

use super::render;
use super::words::{self, Language};
use crate::web::desk::Desk;
use crate::web::doors::{By, Visitor};
use crate::web::orders::DoneView;
use crate::web::problem::Problem;

/// A reader of a page, and the page.
#[derive(Debug)]
pub(super) struct Visit {
    pub(super) language: Language,
    frame: Frame,
}

/// What the frame around every page shows.
#[allow(clippy::struct_excessive_bools, reason = "they are what a template asks")]
#[derive(Debug, Serialize)]
struct Frame {
    tag: &'static str,
    /// By the daemon's clock, which may differ from the reader's.
    now: jiff::Timestamp,
    /// How many seconds of that clock pass in a second.
    speed: f64,
    here: String,
    script_words: String,
    other_language: String,
    other_tag: &'static str,
    other_name: &'static str,
    version: &'static str,
    many_servers: bool,
    /// Whether the reader may see more than this page.
    inside: bool,
    session: bool,
    read_only: bool,
    csrf: String,
    flash: Option<&'static str>,
}

/// A page with its frame, as a template sees it.
#[derive(Serialize)]
struct Framed<'a, T> {
    #[serde(flatten)]
    frame: &'a Frame,
    view: T,
}

/// What was done can be said after it: the word in the address, and the English of the template.
const DONE: [(&str, &str); 5] = [
    ("paused", "The rule is paused."),
    ("resumed", "The rule goes on."),
    ("redriven", "These tasks are tried again, one after the other."),
    ("dropped", "These tasks are put away."),
    ("nothing", "There was nothing to do any more."),
];

/// What a page is called that says why something is not shown or not done.
const TITLES: [(StatusCode, &str); 6] = [
    (StatusCode::NOT_FOUND, "There is no such page"),
    (StatusCode::BAD_REQUEST, "This cannot be understood"),
    (StatusCode::FORBIDDEN, "This is not allowed"),
    (StatusCode::TOO_MANY_REQUESTS, "Too much at once"),
    (StatusCode::SERVICE_UNAVAILABLE, "This cannot be done now"),
    (StatusCode::INTERNAL_SERVER_ERROR, "This went wrong"),
];

impl<S: Send + Sync> FromRequestParts<S> for Visit
where
    Desk: FromRef<S>,
{
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Response> {
        let desk = Desk::from_ref(state);
        let query = parts.uri.query().unwrap_or_default().to_owned();
        let (ours, rest): (Vec<&str>, Vec<&str>) = query
            .split('&')
            .filter(|pair| !pair.is_empty())
            .partition(|pair| pair.starts_with("lang=") || pair.starts_with("done="));
        let rest = rest.join("&");
        let here = parts.uri.path().to_owned();
        if let Some(chosen) = ours.iter().find_map(|pair| pair.strip_prefix("lang=")) {
            return Err(choose(chosen, &here, &rest));
        }
        // What follows reads queries strictly, and these are none of its names.
        if !ours.is_empty() {
            let uri: Result<Uri, _> = format!("{here}?{rest}").parse();
            if let Ok(uri) = uri {
                parts.uri = uri;
            }
        }
        let done = ours.iter().find_map(|pair| pair.strip_prefix("done="));
        let language = Language::of(&parts.headers);
        let visitor = Visitor::from_request_parts(parts, state).await;
        let visitor = visitor.map_err(IntoResponse::into_response)?;
        Ok(Self { language, frame: frame((&desk, visitor), language, &here, &rest, done) })
    }
}

/// Turns a problem into a page for people, however early it came up.
pub(in crate::web) async fn dress(
    State(desk): State<Desk>,
    request: Request,
    next: Next,
) -> Response {
    let path = request.uri().path();
    let accepts = request.headers().get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    let reads = accepts.is_some_and(|accept| accept.contains("text/html"));
    if !reads || path.starts_with("/api/") {
        return next.run(request).await;
    }
    let (language, here) = (Language::of(request.headers()), path.to_owned());
    let response = next.run(request).await;
    let Some(problem) = response.extensions().get::<Problem>().cloned() else { return response };
    let visitor = response.extensions().get::<Visitor>().cloned();
    let visitor = visitor.unwrap_or(Visitor { by: None, csrf: String::new(), read_only: false });
    let visit = Visit { language, frame: frame((&desk, visitor), language, &here, "", None) };
    let mut page = visit.problem(&problem);
    // What else was to be said stays.
    for (name, value) in response.headers() {
        if !matches!(*name, header::CONTENT_TYPE | header::CONTENT_LENGTH) {
            page.headers_mut().insert(name, value.clone());
        }
    }
    page
}

fn frame(
    (desk, visitor): (&Desk, Visitor),
    language: Language,
    here: &str,
    rest: &str,
    done: Option<&str>,
) -> Frame {
    let other = language.other();
    let Visitor { by, csrf, read_only } = visitor;
    let word = |english: &'static str| words::text(language, english);
    let script = json!({
        "d": word("d"), "h": word("h"), "m": word("m"), "s": word("s"), "now": word("now"),
        "in": word("in {length}"), "ago": word("{length} ago"), "live": word("live"),
        "lost": word("connection lost"),
    });
    let between = if rest.is_empty() { "" } else { "&" };
    Frame {
        tag: language.tag(),
        now: desk.clock.now(),
        speed: desk.speed,
        here: here.to_owned(),
        script_words: script.to_string(),
        other_language: format!("{rest}{between}lang={}", other.code()),
        other_tag: other.tag(),
        other_name: other.name(),
        version: env!("CARGO_PKG_VERSION"),
        many_servers: desk.control.status().borrow().servers.len() > 1,
        inside: by.is_some(),
        session: by == Some(By::Session),
        read_only,
        csrf,
        flash: done
            .and_then(|done| DONE.iter().find(|known| known.0 == done))
            .map(|known| words::text(language, known.1)),
    }
}

/// Keeps the language in a cookie, and leads back to the page.
fn choose(code: &str, here: &str, rest: &str) -> Response {
    // Two slashes would lead to another server.
    let here = if here.starts_with("//") { "/" } else { here };
    let to = if rest.is_empty() { here.to_owned() } else { format!("{here}?{rest}") };
    let Ok(to) = HeaderValue::from_str(&to) else { return StatusCode::BAD_REQUEST.into_response() };
    let mut response = (StatusCode::SEE_OTHER, [(header::LOCATION, to)]).into_response();
    if let Some(language) = Language::of_code(code) {
        let cookie = format!(
            "{}={}; Path=/; Max-Age=31536000; SameSite=Lax; HttpOnly",
            words::COOKIE,
            language.code()
        );
        if let Ok(cookie) = HeaderValue::from_str(&cookie) {
            response.headers_mut().insert(header::SET_COOKIE, cookie);
        }
    }
    response
}

impl Visit {
    /// A page, or the page that says why there is none.
    pub(super) fn answer<T: Serialize>(
        &self,
        template: &str,
        view: Result<T, Problem>,
    ) -> Response {
        match view {
            Ok(view) => self.page(StatusCode::OK, template, &view),
            Err(problem) => self.problem(&problem),
        }
    }

    /// The page that says why something is not shown or not done.
    pub(super) fn problem(&self, problem: &Problem) -> Response {
        let title = TITLES.iter().find(|title| title.0 == problem.status);
        let title = title.map_or("This went wrong", |title| title.1);
        let title = words::text(self.language, title);
        let detail = problem.text.as_str();
        let view = json!({ "title": title, "detail": detail, "retry_after": problem.retry_after });
        let mut response = self.page(problem.status, "error.html", &view);
        if let Some(seconds) = problem.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }

    fn page<T: Serialize>(&self, status: StatusCode, template: &str, view: &T) -> Response {
        let framed = Framed { frame: &self.frame, view };
        match render::page(self.language, template, framed) {
            Ok(html) => {
                let headers = [
                    (header::CONTENT_TYPE, "text/html; charset=utf-8"),
                    (header::CACHE_CONTROL, "no-store"),
                    (header::VARY, "Accept-Language, Cookie"),
                ];
                (status, headers, html).into_response()
            }
            Err(error) => {
                let text = format!(
                    "the page cannot be made, which is a defect; please report it: {error}\n"
                );
                (StatusCode::INTERNAL_SERVER_ERROR, text).into_response()
            }
        }
    }

    /// Leads to a page, which says what was done; or says why nothing was.
    pub(super) fn done(&self, page: &str, word: &str, done: Result<DoneView, Problem>) -> Response {
        let word = match done {
            Ok(done) if done.count == 0 => "nothing",
            Ok(_) => word,
            Err(problem) => return self.problem(&problem),
        };
        let to = format!("{page}?done={word}");
        (StatusCode::SEE_OTHER, [(header::LOCATION, to)]).into_response()
    }
}

/// What is said here in English, for a test of the Chinese.
#[cfg(test)]
pub(super) fn said() -> impl Iterator<Item = &'static str> {
    DONE.iter().map(|done| done.1).chain(TITLES.iter().map(|title| title.1))
}
