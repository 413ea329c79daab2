//! The `match` of a rule.

use super::codes::Code;
use super::finding::Span;
use super::reader::{At, Place, Reader, shorten, suggest};
use super::values;
use super::yaml::{Node, Value};
use crate::engine::class::Class;
use crate::engine::pattern::Globs;
use crate::engine::predicate::{
    Comparison, Leaf, NumberField, PathField, Predicate, RoleTest, Side, SpanField, Test,
    TextField, format_duration,
};
use crate::engine::task::{Kind, ServerName, State};

/// How deep `all`, `any` and `not` may stand in each other.
const DEEPEST: usize = 64;

/// What a rule's matchers ask for and where, for the checks that need the places.
#[derive(Debug, Default)]
pub(super) struct Sites {
    pub(super) leaves: Vec<Site>,
    /// Each state that is named, and whether under an odd number of `not`.
    pub(super) states: Vec<(State, Span, bool)>,
    /// The groups that must hold: under no other `any` or `not`.
    pub(super) groups: Vec<Group>,
}

/// An `any` or a `not` in the file.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) key_span: Span,
    pub(super) members: Members,
}

/// What stands in a group.
#[derive(Debug)]
pub(super) enum Members {
    /// Each with its place.
    Any(Vec<(Predicate, Span)>),
    Not(Predicate),
}

/// One matcher in the file.
#[derive(Debug)]
pub(super) struct Site {
    pub(super) leaf: Leaf,
    pub(super) key_span: Span,
    pub(super) span: Span,
    /// Under an odd number of `not`.
    pub(super) negated: bool,
    /// Under no `any` and no `not`: it must hold for the rule to match.
    pub(super) must_hold: bool,
}

/// Where in the nest of groups a matcher stands.
#[derive(Clone, Copy)]
struct Nest {
    depth: usize,
    negated: bool,
    must_hold: bool,
}

impl Reader<'_> {
    /// The condition of a rule. Members that could not be read are left out; each left a finding.
    pub(super) fn condition(&mut self, at: At<'_>, sites: &mut Sites) -> Predicate {
        self.group(at.node, at.span, Nest { depth: 0, negated: false, must_hold: true }, sites)
    }

    fn group(&mut self, node: &Node, span: Span, nest: Nest, sites: &mut Sites) -> Predicate {
        let mut members = Vec::new();
        if nest.depth > DEEPEST {
            let message = format!("matchers are nested deeper than {DEEPEST}");
            self.report(Code::TooComplex, span, message).help("say the same with fewer groups");
            return Predicate::All(members);
        }
        let Some(fields) = self.fields(node, span, Place::Match) else {
            return Predicate::All(members);
        };
        let empty = match &node.value {
            Value::Null => true,
            Value::Map(entries) => entries.is_empty(),
            _ => false,
        };
        if nest.depth > 0 && empty {
            self.report(Code::EmptyValue, span, "no matcher stands here")
                .help("name at least one matcher, or drop the key");
        }
        for at in fields.iter() {
            match at.key {
                "all" => members.extend(self.groups(at, nest, sites).map(Predicate::All)),
                "any" => {
                    let inner = Nest { must_hold: false, ..nest };
                    let Some(any) = self.groups(at, inner, sites) else { continue };
                    if nest.must_hold {
                        let spans = at.items().into_iter().map(|item| item.span);
                        let placed = any.iter().cloned().zip(spans).collect();
                        sites
                            .groups
                            .push(Group { key_span: at.key_span, members: Members::Any(placed) });
                    }
                    members.push(Predicate::Any(any));
                }
                "not" => {
                    let must_hold = nest.must_hold;
                    let nest =
                        Nest { depth: nest.depth + 1, negated: !nest.negated, must_hold: false };
                    if matches!(at.node.value, Value::Seq(_)) {
                        self.report(
                            Code::WrongType,
                            at.span,
                            "`not` takes one map of matchers, not a list",
                        )
                        .help("for none of them write `not: { any: [...] }`");
                        continue;
                    }
                    let member = self.group(at.node, at.span, nest, sites);
                    if must_hold {
                        sites.groups.push(Group {
                            key_span: at.key_span,
                            members: Members::Not(member.clone()),
                        });
                    }
                    members.push(Predicate::Not(Box::new(member)));
                }
                _ => {
                    if let Some((test, expected)) = self.leaf(at, nest.negated, sites) {
                        let leaf = Leaf { key: at.key, expected: expected.into(), test };
                        sites.leaves.push(Site {
                            leaf: leaf.clone(),
                            key_span: at.key_span,
                            span: at.span,
                            negated: nest.negated,
                            must_hold: nest.must_hold,
                        });
                        members.push(Predicate::Leaf(leaf));
                    }
                }
            }
        }
        Predicate::All(members)
    }

    fn groups(&mut self, at: At<'_>, nest: Nest, sites: &mut Sites) -> Option<Vec<Predicate>> {
        let nest = Nest { depth: nest.depth + 1, ..nest };
        let Value::Seq(items) = &at.node.value else {
            let help = format!("write `{}: [{{ ... }}, {{ ... }}]`", at.key);
            self.wrong_type(at, "a list of matchers", &help);
            return None;
        };
        if items.is_empty() {
            self.report(Code::EmptyValue, at.span, format!("the list of `{}` is empty", at.key))
                .help("name at least one matcher, or drop the key");
            return None;
        }
        let members = items.iter().map(|node| {
            let span = if node.span.is_empty() { at.key_span } else { node.span };
            match self.group(node, span, nest, sites) {
                // One matcher needs no group of its own.
                Predicate::All(mut members) if members.len() == 1 => members.remove(0),
                group => group,
            }
        });
        Some(members.collect())
    }

    fn leaf(&mut self, at: At<'_>, negated: bool, sites: &mut Sites) -> Option<(Test, String)> {
        Some(match at.key {
            "server" => {
                let servers = self.list(at, Self::server_ref)?;
                let expected = either(&servers);
                (Test::Server(servers), expected)
            }
            "kind" => {
                let kinds = self.list(at, Self::kind)?;
                let expected = either(&kinds);
                (Test::Kind(kinds), expected)
            }
            "state" => {
                let states = self.list(at, |reader, item| {
                    let state = reader.state(item)?;
                    sites.states.push((state, item.span, negated));
                    Some(state)
                })?;
                let expected = either(&states);
                (Test::State(states), expected)
            }
            "class" => {
                let classes = self.list(at, Self::class_ref)?;
                let expected = either(&classes);
                (Test::Class(classes), expected)
            }
            "error" => self.text_test(at, TextField::Error)?,
            "name" => self.text_test(at, TextField::Name)?,
            "status" => self.text_test(at, TextField::Status)?,
            "file" => self.glob_test(at, |globs| Test::Path(PathField::File, globs))?,
            "src" => self.glob_test(at, |globs| Test::Path(PathField::Src, globs))?,
            "dst" => self.glob_test(at, |globs| Test::Path(PathField::Dst, globs))?,
            "src_mount" => self.glob_test(at, |globs| Test::Mount(Side::Src, globs))?,
            "dst_mount" => self.glob_test(at, |globs| Test::Mount(Side::Dst, globs))?,
            "creator" => {
                let names = self.list(at, |reader, item| reader.text(item).map(str::to_owned))?;
                let expected = either(&names);
                (Test::Creator(names), expected)
            }
            "role" => {
                let roles = self.list(at, Self::role)?;
                let shown: Vec<String> = roles
                    .iter()
                    .map(|role| match role {
                        RoleTest::Admin => "admin".to_owned(),
                        RoleTest::Guest => "guest".to_owned(),
                        RoleTest::User => "user".to_owned(),
                        RoleTest::Number(number) => number.to_string(),
                    })
                    .collect();
                (Test::Role(roles), either(&shown))
            }
            "progress" => self.number_test(at, NumberField::Progress)?,
            "attempts" => self.number_test(at, NumberField::Attempts)?,
            "size" => self.size_test(at)?,
            "age" => self.span_test(at, SpanField::Age)?,
            "running_for" => self.span_test(at, SpanField::RunningFor)?,
            "stalled_for" => self.span_test(at, SpanField::StalledFor)?,
            _ => return None,
        })
    }

    fn server_ref(&mut self, at: At<'_>) -> Option<ServerName> {
        let text = self.text(at)?;
        // Without servers there is nothing to hold a name against: a rules file under test.
        if self.servers.is_empty() || self.servers.contains(text) {
            return Some(ServerName::new(text));
        }
        let names: Vec<String> = self.servers.iter().cloned().collect();
        let message = format!("no server of this file is called `{}`", shorten(text));
        let finding = self.report(Code::UnknownServer, at.span, message);
        suggest(finding, text, names.iter().map(String::as_str));
        None
    }

    pub(super) fn kind(&mut self, at: At<'_>) -> Option<Kind> {
        let text = self.text(at)?;
        let kind = Kind::from(text);
        if !matches!(kind, Kind::Other(_)) || self.kinds.contains(text) {
            return Some(kind);
        }
        let extra: Vec<String> = self.kinds.iter().cloned().collect();
        let names = Kind::KNOWN.iter().map(Kind::as_str).chain(extra.iter().map(String::as_str));
        let names: Vec<String> = names.map(str::to_owned).collect();
        let message = format!("there is no kind `{}`", shorten(text));
        let finding = self.report(Code::UnknownKind, at.span, message);
        if let Some(near) = super::suggest::nearest(text, names.iter().map(String::as_str)) {
            finding.help(format!("did you mean `{near}`?"));
        } else {
            let names = names.join(", ");
            finding.help(format!("it is one of {names}; a kind that only your server has goes under its `kinds:` first"));
        }
        None
    }

    pub(super) fn state(&mut self, at: At<'_>) -> Option<State> {
        let text = self.text(at)?;
        if let Some(state) = State::KNOWN.into_iter().find(|state| state.name() == Some(text)) {
            return Some(state);
        }
        let finding = self.report(
            Code::UnknownState,
            at.span,
            format!("there is no state `{}`", shorten(text)),
        );
        let meant = match text {
            "done" | "finished" | "completed" | "complete" | "success" | "ok" => {
                "did you mean `succeeded`?"
            }
            "error" | "fail" => "did you mean `failed`?",
            "cancelled" => "did you mean `canceled`?",
            // As the API numbers them.
            _ if let Some(state) =
                text.parse().ok().map(State::from_number).and_then(State::name) =>
            {
                finding.help(format!("did you mean `{state}`?"));
                return None;
            }
            "undone" | "active" => "name the states: pending, running, waiting_retry, ...",
            _ => {
                suggest(finding, text, State::KNOWN.into_iter().filter_map(State::name));
                return None;
            }
        };
        finding.help(meant);
        None
    }

    fn class_ref(&mut self, at: At<'_>) -> Option<Class> {
        let text = self.text(at)?;
        if Class::KNOWN.iter().any(|class| class.as_str() == text) || self.classes.contains(text) {
            return Some(Class::from(text));
        }
        let own: Vec<String> = self.classes.iter().cloned().collect();
        let names = Class::KNOWN.iter().map(Class::as_str).chain(own.iter().map(String::as_str));
        let message = format!("there is no class of errors `{}`", shorten(text));
        let finding = self.report(Code::UnknownClass, at.span, message);
        suggest(finding, text, names);
        None
    }

    fn role(&mut self, at: At<'_>) -> Option<RoleTest> {
        let text = self.text(at)?;
        match text {
            "admin" => return Some(RoleTest::Admin),
            "guest" => return Some(RoleTest::Guest),
            "user" | "general" => return Some(RoleTest::User),
            _ => {}
        }
        if let Ok(number) = text.trim().parse() {
            return Some(RoleTest::Number(number));
        }
        let message = format!("there is no role `{}`", shorten(text));
        let finding = self.report(Code::UnknownValue, at.span, message);
        suggest(finding, text, ["admin", "guest", "user", "a number"].into_iter());
        None
    }

    fn text_test(&mut self, at: At<'_>, field: TextField) -> Option<(Test, String)> {
        let patterns = self.regexes(at)?;
        let shown: Vec<String> =
            patterns.iter().map(|pattern| ["/", pattern.as_str(), "/"].concat()).collect();
        Some((Test::Text(field, patterns), shown.join(" | ")))
    }

    fn glob_test(
        &mut self,
        at: At<'_>,
        test: impl FnOnce(Globs) -> Test,
    ) -> Option<(Test, String)> {
        let (set, texts) = self.globs(at, at.key.ends_with("_mount"))?;
        Some((test(set), texts.join(" | ")))
    }

    /// The text of a comparison: one, never a list.
    fn single<'n>(&mut self, at: At<'n>) -> Option<&'n str> {
        if matches!(at.node.value, Value::Seq(_)) {
            let message = format!("`{}` takes one comparison, not a list", at.key);
            self.report(Code::WrongType, at.span, message).help(format!(
                "for both of two bounds write `all: [{{ {0}: \"> ...\" }}, {{ {0}: \"< ...\" }}]`",
                at.key
            ));
            return None;
        }
        self.text(at)
    }

    fn number_test(&mut self, at: At<'_>, field: NumberField) -> Option<(Test, String)> {
        let text = self.single(at)?;
        let percent = field == NumberField::Progress;
        match values::comparison(text, |text| values::number(text, percent)) {
            Ok((comparison, bound)) => {
                let comparison = comparison.unwrap_or(Comparison::Equal);
                let unit = if percent { "%" } else { "" };
                Some((
                    Test::Number(field, comparison, bound),
                    format!("{comparison} {bound}{unit}"),
                ))
            }
            Err(fault) => {
                self.fault(at, fault);
                None
            }
        }
    }

    fn size_test(&mut self, at: At<'_>) -> Option<(Test, String)> {
        let text = self.single(at)?;
        match values::comparison(text, values::size) {
            Ok((Some(comparison), bound)) => {
                let (_, from) = values::operator(text).unwrap_or_default();
                let expected = format!("{comparison} {}", text[from..].trim());
                Some((Test::Number(NumberField::Size, comparison, bound), expected))
            }
            Ok((None, _)) => {
                let text = text.trim();
                self.report(Code::InvalidComparison, at.span, "a size needs an operator")
                    .help(format!("write `\">= {text}\"` for at least, `\"< {text}\"` for less"));
                None
            }
            Err(fault) => {
                self.fault(at, fault);
                None
            }
        }
    }

    fn span_test(&mut self, at: At<'_>, field: SpanField) -> Option<(Test, String)> {
        let text = self.single(at)?;
        match values::comparison(text, values::duration) {
            Ok((comparison, bound)) => {
                let comparison = comparison.unwrap_or(Comparison::AtLeast);
                let expected = format!("{comparison} {}", format_duration(bound));
                Some((Test::Span(field, comparison, bound), expected))
            }
            Err(fault) => {
                self.fault(at, fault);
                None
            }
        }
    }
}

/// `a | b | c`.
fn either<T: ToString>(values: &[T]) -> String {
    values.iter().map(ToString::to_string).collect::<Vec<_>>().join(" | ")
}
