//! Why something that was asked for is not answered or not done.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::daemon::control::Refusal;
use crate::store::{OpenError, StoreError};

/// Why something was not done, as JSON.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Refused {
    /// In words.
    pub error: String,
}

/// The same with the status of the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The status.
    pub status: StatusCode,
    /// In words, and what to do.
    pub text: String,
    /// After how many seconds it is worth another try, where that is known.
    pub retry_after: Option<u64>,
}

impl Problem {
    /// With a status.
    #[must_use]
    pub fn new(status: StatusCode, text: impl Into<String>) -> Self {
        Self { status, text: text.into(), retry_after: None }
    }

    /// What was asked for is wrong.
    #[must_use]
    pub fn wrong(text: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, text)
    }

    /// There is no such thing.
    #[must_use]
    pub fn missing(text: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, text)
    }

    /// Too much is going on.
    #[must_use]
    pub fn busy(text: impl Into<String>, retry_after: u64) -> Self {
        let problem = Self::new(StatusCode::TOO_MANY_REQUESTS, text);
        Self { retry_after: Some(retry_after), ..problem }
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let status = match refusal {
            Refusal::Unknown(_) => StatusCode::NOT_FOUND,
            Refusal::NotNow(_) => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self::new(status, refusal.to_string())
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        let text = match error {
            StoreError::TooLong { .. } => {
                "there is too much to look through in the time that an answer may take; ask about a \
                 shorter time, or ask the command of this name on the machine itself"
                    .to_owned()
            }
            error => error.to_string(),
        };
        Self::new(StatusCode::SERVICE_UNAVAILABLE, text)
    }
}

impl From<OpenError> for Problem {
    fn from(error: OpenError) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let refused = Refused { error: self.text.clone() };
        let mut response = (self.status, Json(refused)).into_response();
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            let scheme = HeaderValue::from_static("Bearer");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, scheme);
        }
        // For whoever shows it to people.
        response.extensions_mut().insert(self);
        response
    }
}
