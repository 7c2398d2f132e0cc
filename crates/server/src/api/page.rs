//! The web page, embedded in the binary.
//!
//! Invariant: what was built into the binary is served and nothing else; without a built UI the page
//! says how to build it.

use axum::http::{StatusCode, Uri, header};
use axum::response::{Html, IntoResponse, Response};
use rust_embed::RustEmbed;

#[derive(RustEmbed)]
#[folder = "../../ui/dist"]
#[allow_missing = true]
struct Assets;

const NOT_BUILT: &str = "<!doctype html><title>Tapewatch</title><p>The page was not built into this \
    binary. Build it with <code>cargo xtask demo</code>. The API is at \
    <a href=\"/api/v1/openapi.json\">/api/v1</a>.";

/// The file at a path; `/` is the page.
pub(crate) fn asset(uri: &Uri) -> Response {
    let path = match uri.path().trim_start_matches('/') {
        "" => "index.html",
        path => path,
    };
    match Assets::get(path) {
        Some(file) => {
            let kind = mime_guess::from_path(path).first_or_octet_stream();
            // Vite names assets by their content; the page itself must be asked for each time.
            let cache = if path.starts_with("assets/") {
                "public, max-age=31536000, immutable"
            } else {
                "no-cache"
            };
            let headers = [
                (header::CONTENT_TYPE, kind.as_ref().to_owned()),
                (header::CACHE_CONTROL, cache.to_owned()),
            ];
            (headers, file.data.into_owned()).into_response()
        }
        None if path == "index.html" => Html(NOT_BUILT).into_response(),
        None => (StatusCode::NOT_FOUND, "there is no such page\n").into_response(),
    }
}
