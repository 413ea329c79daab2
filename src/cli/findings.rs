//! stub
use crate::rules::Loaded;
/// x
#[must_use]
pub fn human(loaded: &Loaded, _color: bool) -> String {
    loaded
        .findings
        .iter()
        .map(|f| format!("{}:{}:{}: {} {}\n", loaded.path, f.line, f.column, f.code, f.message))
        .collect()
}
/// x
#[must_use]
pub fn json(_l: &Loaded) -> Vec<String> {
    vec![]
}
/// x
#[must_use]
pub fn github(_l: &Loaded) -> Vec<String> {
    vec![]
}
/// x
#[must_use]
pub fn sarif(_l: &[Loaded]) -> String {
    String::new()
}
