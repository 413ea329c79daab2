//! Patterns of rules: known to be right when they are made, compiled when a text first gets that far.
//! A file may have thousands, most of which no text ever reaches.

use std::fmt;
use std::sync::{Arc, OnceLock};

use globset::{Glob, GlobSet, GlobSetBuilder};
use regex::Regex;
use regex_automata::meta;
use regex_automata::nfa::thompson::WhichCaptures;
use regex_automata::util::syntax;
use regex_syntax::hir::Hir;

use super::needles::{Needles, found, needles};

/// A regular expression. Clones share what was compiled.
#[derive(Clone)]
pub struct Pattern(Arc<Expression>);

struct Expression {
    lazy: Lazy<String, meta::Regex>,
    needles: Needles,
}

/// Globs of which one must match a whole path. Clones share what was compiled.
#[derive(Clone)]
pub struct Globs(Arc<Lazy<Vec<Glob>, GlobSet>>);

/// In texts of so many bytes at most, what an expression needs is looked for before it is run.
const SHORT: usize = 1024;

struct Lazy<S, C> {
    source: S,
    /// `None` if it cannot be compiled after all.
    compiled: OnceLock<Option<C>>,
}

impl Pattern {
    /// Puts off compiling. Whoever makes it knows that the text is a regular expression, which `hir`
    /// is, and that its automaton keeps within the limits; one that does not is found in no text.
    #[must_use]
    pub fn later(text: &str, hir: &Hir) -> Self {
        let lazy = Lazy { source: text.to_owned(), compiled: OnceLock::new() };
        Self(Arc::new(Expression { lazy, needles: needles(hir) }))
    }

    /// The expression.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0.lazy.source
    }

    /// What is in every text in which it is found.
    pub(super) fn needles(&self) -> &Needles {
        &self.0.needles
    }

    /// Whether it is found in a text.
    #[must_use]
    pub fn is_match(&self, text: &str) -> bool {
        // In a long text each of them would be looked for from end to end.
        if text.len() <= SHORT && !found(&self.0.needles, text.as_bytes()) {
            return false;
        }
        let Lazy { source, compiled } = &self.0.lazy;
        let compiled = compiled.get_or_init(|| compile(source, syntax::Config::new()));
        compiled.as_ref().is_some_and(|regex| regex.is_match(text))
    }
}

/// The expression alone: whether it was compiled makes no difference.
impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Pattern").field(&self.0.lazy.source).finish()
    }
}

impl fmt::Debug for Globs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.source.iter().map(Glob::glob)).finish()
    }
}

impl From<Regex> for Pattern {
    fn from(regex: Regex) -> Self {
        let source = regex.as_str().to_owned();
        // Such a one is large, or it would be compiled later: that is not for a loop to wait for.
        let compiled = OnceLock::from(compile(&source, syntax::Config::new()));
        let lazy = Lazy { source, compiled };
        Self(Arc::new(Expression { lazy, needles: Needles::new() }))
    }
}

impl Globs {
    /// Puts off compiling. Whoever makes it knows that the set keeps within the limits; one that does
    /// not matches no path.
    #[must_use]
    pub fn later(globs: Vec<Glob>) -> Self {
        Self(Arc::new(Lazy { source: globs, compiled: OnceLock::new() }))
    }

    /// Whether one of them matches the whole path.
    #[must_use]
    pub fn is_match(&self, path: &str) -> bool {
        let Lazy { source, compiled } = &*self.0;
        let compiled = compiled.get_or_init(|| set(source).ok());
        compiled.as_ref().is_some_and(|set| set.is_match(path))
    }

    /// Compiles it now.
    ///
    /// # Errors
    /// When the set grows too large.
    pub fn compile(&self) -> Result<(), globset::Error> {
        let set = set(&self.0.source)?;
        // Another may have been quicker, with the same.
        let _ = self.0.compiled.set(Some(set));
        Ok(())
    }
}

/// Compiles an expression that is only asked whether it is found. It need not look for texts that every match
/// begins with, which takes half the time to make ready: what it needs was looked for already.
pub(super) fn compile(source: &str, syntax: syntax::Config) -> Option<meta::Regex> {
    let config = meta::Config::new().auto_prefilter(false).which_captures(WhichCaptures::None);
    meta::Regex::builder().configure(config).syntax(syntax).build(source).ok()
}

fn set(globs: &[Glob]) -> Result<GlobSet, globset::Error> {
    let mut set = GlobSetBuilder::new();
    for glob in globs {
        set.add(glob.clone());
    }
    set.build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_compiled_later_matches_the_same() {
        let later = |text: &str| Pattern::later(text, &regex_syntax::parse(text).unwrap());
        let pattern = later("a+b");
        assert!(pattern.is_match("caab") && !pattern.clone().is_match("ca"));
        assert!(!pattern.is_match("x") && pattern.0.lazy.compiled.get().is_some());
        let large = Pattern::from(Regex::new("x").unwrap());
        assert!(large.as_str() == "x" && large.0.lazy.compiled.get().is_some());
        let error = later("code: [0-9]+|timed? ?out");
        assert!(error.is_match("code: 5") && error.is_match("it timeout"));
        assert!(!error.is_match("code: x") && !error.is_match("it time"));
        let globs = Globs::later(vec![Glob::new("/a/**").unwrap(), Glob::new("*.mkv").unwrap()]);
        assert!(globs.is_match("/a/b") && globs.is_match("x.mkv") && !globs.is_match("/b"));
        assert!(globs.compile().is_ok());
    }
}
