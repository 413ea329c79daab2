//! The style sheet, the script and the mark, under addresses that change with what they hold.

use std::sync::LazyLock;

use axum::extract::Path;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use sha2::{Digest as _, Sha256};

/// A file that pages refer to.
struct Asset {
    name: &'static str,
    media_type: &'static str,
    text: &'static str,
}

const ASSETS: [Asset; 3] = [
    Asset {
        name: "style.css",
        media_type: "text/css; charset=utf-8",
        text: include_str!("assets/style.css"),
    },
    Asset {
        name: "page.js",
        media_type: "text/javascript; charset=utf-8",
        text: include_str!("assets/page.js"),
    },
    Asset { name: "mark.svg", media_type: "image/svg+xml", text: include_str!("assets/mark.svg") },
];

/// What each holds, as the start of its digest.
static DIGESTS: LazyLock<[String; 3]> = LazyLock::new(|| {
    ASSETS.each_ref().map(|asset| {
        let digest = Sha256::digest(asset.text);
        let start = digest.iter().take(8).fold(0, |start: u64, byte| start << 8 | u64::from(*byte));
        format!("{start:016x}")
    })
});

/// Where pages find a file; `None` if there is none of this name.
pub(super) fn address(name: &str) -> Option<String> {
    let (asset, digest) =
        ASSETS.iter().zip(DIGESTS.iter()).find(|(asset, _)| asset.name == name)?;
    Some(format!("/assets/{digest}/{}", asset.name))
}

/// Serves a file; browsers may keep it for good, since another text has another address.
pub(super) async fn serve(Path((digest, name)): Path<(String, String)>) -> Response {
    let known = ASSETS.iter().zip(DIGESTS.iter());
    match known.into_iter().find(|(asset, known)| asset.name == name && **known == digest) {
        None => StatusCode::NOT_FOUND.into_response(),
        Some((asset, _)) => {
            let headers = [
                (header::CONTENT_TYPE, asset.media_type),
                (header::CACHE_CONTROL, "public, max-age=31536000, immutable"),
            ];
            (headers, asset.text).into_response()
        }
    }
}
