//! The pages of the dashboard.

use axum::Router;

use super::desk::Desk;

/// The paths of the pages.
pub fn routes() -> Router<Desk> {
    Router::new()
}
