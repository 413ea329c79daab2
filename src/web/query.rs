//! Queries, read strictly: a name or a value that means nothing is said, not passed over.

use axum::extract::{FromRequestParts, Query};
use axum::http::Uri;
use axum::http::request::Parts;
use serde::de::DeserializeOwned;

use super::problem::Problem;

/// What a query asks for. What it leaves empty is not asked for, since forms send all their fields.
#[derive(Clone, Debug)]
pub struct Asked<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Asked<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        parse(parts.uri.query().unwrap_or_default()).map(Self)
    }
}

fn parse<T: DeserializeOwned>(query: &str) -> Result<T, Problem> {
    let filled: Vec<&str> = query
        .split('&')
        .filter(|pair| !pair.is_empty() && !pair.ends_with('=') && pair.contains('='))
        .collect();
    let uri: Uri = format!("/?{}", filled.join("&"))
        .parse()
        .map_err(|error| Problem::wrong(format!("the query cannot be read: {error}")))?;
    Query::<T>::try_from_uri(&uri).map(|Query(asked)| asked).map_err(|rejection| {
        let text = rejection.body_text();
        let text = text.strip_prefix("Failed to deserialize query string: ").unwrap_or(&text);
        Problem::wrong(format!("the query is wrong: {text}"))
    })
}
