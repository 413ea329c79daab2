//! Turns what a page shows into HTML.
//!
//! Every text is escaped unless this module made it. What servers wrote is shown by `shown` alone, which
//! makes it harmless to its surroundings too.

use std::fmt::Write as _;
use std::sync::LazyLock;
use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use minijinja::value::{Kwargs, Rest, Serde};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, State, UndefinedBehavior, Value};
use serde::Serialize;

use super::words::{self, Language};
use super::{assets, chart};
use crate::engine::name::{Location, TaskName};
use crate::engine::text::{printable, shorten};

/// The templates, by name.
pub(super) const TEMPLATES: &[(&str, &str)] = &[
    ("frame.html", include_str!("templates/frame.html")),
    ("parts.html", include_str!("templates/parts.html")),
    ("overview.html", include_str!("templates/overview.html")),
    ("actions.html", include_str!("templates/actions.html")),
    ("task.html", include_str!("templates/task.html")),
    ("rules.html", include_str!("templates/rules.html")),
    ("dead.html", include_str!("templates/dead.html")),
    ("breakers.html", include_str!("templates/breakers.html")),
    ("report.html", include_str!("templates/report.html")),
    ("login.html", include_str!("templates/login.html")),
    ("error.html", include_str!("templates/error.html")),
];

static ENGLISH: LazyLock<Environment<'static>> = LazyLock::new(|| environment(Language::English));
static CHINESE: LazyLock<Environment<'static>> = LazyLock::new(|| environment(Language::Chinese));

/// Fills a template.
///
/// # Errors
/// A mistake in the template, or a name that the context does not have.
pub(super) fn page(
    language: Language,
    template: &str,
    context: impl Serialize,
) -> Result<String, Error> {
    let environment = match language {
        Language::English => &*ENGLISH,
        Language::Chinese => &*CHINESE,
    };
    environment.get_template(template)?.render(Serde(context))
}

/// HTML that is known to be harmless.
fn safe(html: String) -> Value {
    Value::from_safe_string(html)
}

fn wrong(detail: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::InvalidOperation, detail)
}

/// A text in HTML, also within an attribute.
pub(super) fn escape(text: &str) -> String {
    let mut html = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '"' => html.push_str("&quot;"),
            '\'' => html.push_str("&#39;"),
            c => html.push(c),
        }
    }
    html
}

/// A length of time in its two largest units, as the script writes it too.
pub(super) fn length(language: Language, length: SignedDuration) -> String {
    let mut rest = length.as_secs().max(0);
    let mut parts = Vec::new();
    for (unit, seconds) in [("d", 86_400), ("h", 3600), ("m", 60), ("s", 1)] {
        let count = rest / seconds;
        rest -= count * seconds;
        if count > 0 || !parts.is_empty() {
            parts.push((count, unit));
        }
    }
    let shown: Vec<String> = parts
        .iter()
        .take(2)
        .filter(|(count, _)| *count > 0)
        .map(|(count, unit)| format!("{count}{}", words::text(language, unit)))
        .collect();
    if shown.is_empty() { format!("0{}", words::text(language, "s")) } else { shown.join(" ") }
}

/// A number with its thousands apart.
pub(super) fn number(number: i64) -> String {
    let digits = number.unsigned_abs().to_string();
    let mut text = String::new();
    if number < 0 {
        text.push('-');
    }
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn moment(value: &Value) -> Result<Timestamp, Error> {
    let text = value.as_str().ok_or_else(|| wrong("a moment is a text"))?;
    text.parse().map_err(|_| wrong(format!("`{text}` is no moment")))
}

fn now(state: &State) -> Result<Timestamp, Error> {
    moment(&state.lookup("now").ok_or_else(|| wrong("the page does not know what time it is"))?)
}

/// The moment as the reader's clock shows it, as far as the server knows that.
fn local(moment: Timestamp, form: &str) -> String {
    moment.to_zoned(TimeZone::system()).strftime(form).to_string()
}

/// Fills the places of a translated text: `{name}` by the argument of that name.
fn fill(text: &str, arguments: &Kwargs) -> Result<Value, Error> {
    let mut html = escape(text);
    let names: Vec<String> = arguments.args().map(str::to_owned).collect();
    for name in names {
        let value: Value = arguments.get(&name)?;
        if value.is_undefined() {
            return Err(wrong(format!("there is no `{name}` for `{text}`")));
        }
        let text = match value.as_i64().filter(|_| value.is_number()) {
            Some(count) => number(count),
            None if value.is_safe() => value.to_string(),
            None => escape(&value.to_string()),
        };
        html = html.replace(&format!("{{{name}}}"), &text);
    }
    Ok(safe(html))
}

fn environment(language: Language) -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    texts(&mut environment, language);
    times(&mut environment, language);
    drawings(&mut environment);
    environment.add_filter("count", |count: i64| number(count));
    environment.add_function("asset", |name: &str| {
        assets::address(name).ok_or_else(|| wrong(format!("there is no asset `{name}`")))
    });
    environment.add_filter("path", |part: &str| super::path_part(part));
    for (name, template) in TEMPLATES {
        #[allow(clippy::expect_used, reason = "a test fills every template")]
        environment.add_template(name, template).expect("our templates can be read");
    }
    environment
}

/// What turns text into HTML.
fn texts(environment: &mut Environment<'static>, language: Language) {
    environment.add_function("t", move |text: &str, arguments: Kwargs| {
        fill(words::text(language, text), &arguments)
    });
    // A count, with the noun as one and as many have it.
    environment.add_function("tn", move |n: i64, one: &str, many: &str| {
        let text = match language {
            Language::English if n == 1 => one,
            _ => words::text(language, many),
        };
        safe(escape(text).replace("{n}", &number(n)))
    });
    // A word of the rules file or of an answer, in the reader's language.
    environment.add_filter("word", move |word: &str, of: &str| {
        match words::word(language, of, word) {
            Some(known) => safe(escape(known)),
            None => shown(word, 60),
        }
    });
    // What a task's name says, where it can be read: the file, and from where to where it goes.
    environment.add_function("named", |name: &str| {
        let name = TaskName::new(name);
        let parts = name.parts();
        let place = |place: Location<'_>| format!("{}{}", place.mount, place.path);
        let from = parts.src.map(place).or_else(|| parts.url.map(str::to_owned));
        let file = parts.file.filter(|file| !file.is_empty() && from.is_some());
        minijinja::context! {
            file => file.unwrap_or_else(|| name.shown()),
            from => from.filter(|_| file.is_some()),
            to => parts.dst.map(place).filter(|_| file.is_some()),
        }
    });
    // A sentence of the engine or the daemon, in the reader's language where it is known.
    environment.add_filter("said", move |text: &str, most: Option<usize>| {
        let most = most.unwrap_or(2000);
        match words::said(text).filter(|_| language == Language::Chinese) {
            Some(chinese) => shown(&chinese, most),
            None => safe(format!(r#"<span lang="en">{}</span>"#, shown(text, most))),
        }
    });
    environment
        .add_filter("shown", |text: &str, most: Option<usize>| shown(text, most.unwrap_or(2000)));
}

/// What a server, a task or a person wrote: to be read, and to do nothing else.
fn shown(text: &str, most: usize) -> Value {
    let short = shorten(text, most);
    let mut html = String::from("<bdi");
    if short.len() < text.len() {
        let more = shorten(text, most + 300);
        let _ = write!(html, r#" title="{}""#, escape(&printable(&more)));
    }
    let _ = write!(html, ">{}</bdi>", escape(&printable(&short)));
    safe(html)
}

fn times(environment: &mut Environment<'static>, language: Language) {
    // A moment. `form` is `full`, `clock` or `short`, which the script knows too.
    environment.add_filter("moment", |value: Value, form: &str| {
        let (moment, pattern) = (
            moment(&value)?,
            match form {
                "full" => "%Y-%m-%d %H:%M:%S",
                "clock" => "%H:%M:%S",
                "short" => "%H:%M",
                _ => return Err(wrong(format!("`{form}` is no form of a moment"))),
            },
        );
        let shown = local(moment, pattern);
        let title = if form == "full" { String::new() } else { whole(moment) };
        Ok(safe(format!(
            r#"<time datetime="{moment:.3}"{title} data-form="{form}">{shown}</time>"#
        )))
    });
    // How long it is until a moment.
    environment.add_filter("until", move |state: &State, value: Value| {
        let (moment, now) = (moment(&value)?, now(state)?);
        let shown = if moment <= now {
            words::text(language, "now").to_owned()
        } else {
            let length = length(language, moment.duration_since(now));
            words::text(language, "in {length}").replace("{length}", &length)
        };
        let title = whole(moment);
        Ok(safe(format!(r#"<time datetime="{moment:.3}"{title} data-in>{shown}</time>"#)))
    });
    // How long ago a moment was.
    environment.add_filter("since", move |state: &State, value: Value| {
        let (moment, now) = (moment(&value)?, now(state)?);
        let past = now.duration_since(moment);
        let shown = if past < SignedDuration::from_secs(1) {
            words::text(language, "now").to_owned()
        } else {
            words::text(language, "{length} ago").replace("{length}", &length(language, past))
        };
        let title = whole(moment);
        Ok(safe(format!(r#"<time datetime="{moment:.3}"{title} data-ago>{shown}</time>"#)))
    });
    environment.add_filter("span", move |seconds: f64| {
        let length = Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX);
        self::length(language, SignedDuration::try_from(length).unwrap_or(SignedDuration::MAX))
    });
    // The zone of all moments, which the script replaces by the reader's.
    environment.add_function("zone", || {
        let zone = TimeZone::system();
        let name = zone.iana_name().unwrap_or("UTC");
        safe(format!("<span data-zone>{}</span>", escape(name)))
    });
}

/// The moment in full, as the title of an element that shows less.
fn whole(moment: Timestamp) -> String {
    format!(r#" title="{}""#, local(moment, "%Y-%m-%d %H:%M:%S %Z"))
}

fn drawings(environment: &mut Environment<'static>) {
    // A bar: what is the whole, and then a number and a class for each part.
    environment.add_function("bar", |whole: u64, parts: Rest<Value>| {
        let pairs: Result<Vec<(u64, String)>, Error> = parts
            .chunks(2)
            .map(|pair| match pair {
                [count, class] => {
                    let count = count.as_i64().and_then(|count| u64::try_from(count).ok());
                    let count = count.ok_or_else(|| wrong("a bar is made of counts"))?;
                    Ok((count, class.to_string()))
                }
                _ => Err(wrong("a part of a bar is a count and a class")),
            })
            .collect();
        let pairs = pairs?;
        let parts: Vec<(u64, &str)> =
            pairs.iter().map(|(count, class)| (*count, class.as_str())).collect();
        Ok::<_, Error>(safe(chart::bar(&parts, whole)))
    });
    environment.add_filter("drawing", |svg: String| safe(svg));
}
