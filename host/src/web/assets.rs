//! The browser side, embedded: built from host/web by Vite, committed, so that no Node is needed to build coda.

use axum::extract::Path;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};

use super::error::ApiError;
use crate::env;

#[derive(rust_embed::RustEmbed)]
#[folder = "web/dist"]
struct Assets;

/// One file. Browsers keep it, and ask each time whether it is still the same.
pub(super) async fn serve(Path(name): Path<String>, headers: HeaderMap) -> Response {
    let Some(file) = Assets::get(&name) else {
        let message = format!("no asset '{}'", name.escape_default());
        return ApiError { status: StatusCode::NOT_FOUND, code: "not_found", message }.into_response();
    };
    let tag = format!("\"{}\"", env::hex(&file.metadata.sha256_hash()[..16]));
    let known = headers.get(header::IF_NONE_MATCH).is_some_and(|given| given == tag.as_str());
    let caching = [(header::ETAG, tag), (header::CACHE_CONTROL, "no-cache".to_owned())];
    if known {
        return (StatusCode::NOT_MODIFIED, caching).into_response();
    }
    let kind = [(header::CONTENT_TYPE, file.metadata.mimetype().to_owned())];
    (caching, kind, file.data.into_owned()).into_response()
}
