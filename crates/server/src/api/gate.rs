//! The door in front of the API: closed until recovery is done, and closed to other pages.
//!
//! Invariant: before it is opened only `/healthz` answers 200. A request that a web page of another
//! origin makes is refused, and on a loopback address so is one under a foreign host name: nobody's
//! page may reach a surveillance desk through the officer's own browser.

use std::net::IpAddr;
use std::sync::{Arc, RwLock};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use tower::ServiceExt as _;

use crate::api::error::ApiError;
use crate::peers::Peers;

/// The door; clones are the same door.
#[derive(Clone)]
pub(crate) struct Gate {
    inner: Arc<RwLock<Option<Router>>>,
    loopback: bool,
    peers: Peers,
}

impl Gate {
    /// A closed door; while it is closed `/readyz` says which peers are away.
    pub(crate) fn new(peers: Peers) -> Self {
        Self {
            inner: Arc::default(),
            loopback: true,
            peers,
        }
    }

    /// The same door on another address, a loopback address or not.
    pub(crate) fn on(&self, loopback: bool) -> Self {
        Self {
            loopback,
            ..self.clone()
        }
    }

    /// Lets requests through to `router`.
    pub(crate) fn open(&self, router: Router) {
        *self
            .inner
            .write()
            .unwrap_or_else(std::sync::PoisonError::into_inner) = Some(router);
    }

    /// Lets no further request through, and lets go of the router.
    pub(crate) fn close(&self) {
        *self
            .inner
            .write()
            .unwrap_or_else(std::sync::PoisonError::into_inner) = None;
    }

    /// What the process serves from its first moment on.
    pub(crate) fn router(self) -> Router {
        Router::new().fallback(pass).with_state(self)
    }

    fn current(&self) -> Option<Router> {
        self.inner
            .read()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .clone()
    }
}

async fn pass(State(gate): State<Gate>, request: Request) -> Response {
    // HTTP/2 names the host beside the headers.
    let authority = request.uri().authority().map(|host| host.as_str());
    if let Err(refused) = check(request.headers(), authority, gate.loopback) {
        return refused.into_response();
    }
    match gate.current() {
        // A router's errors are answers already.
        Some(router) => router
            .oneshot(request)
            .await
            .unwrap_or_else(|never| match never {}),
        None => closed(request.uri(), &gate.peers),
    }
}

fn closed(uri: &Uri, peers: &Peers) -> Response {
    match uri.path() {
        "/healthz" => "ok\n".into_response(),
        "/readyz" => {
            let text = format!("not ready\n{}", peers.text());
            (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
        }
        _ => ApiError::not_ready().into_response(),
    }
}

fn check(headers: &HeaderMap, authority: Option<&str>, loopback: bool) -> Result<(), ApiError> {
    let text = |name: HeaderName| {
        headers
            .get(name)
            .map(|value| value.to_str().unwrap_or_default())
    };
    let host = authority.or(text(header::HOST)).unwrap_or_default();
    if let Some(origin) = text(header::ORIGIN) {
        let of_page = origin.split_once("://").map(|(_, rest)| rest);
        if of_page != Some(host) {
            let message =
                format!("a page of {origin} may not use {host}: open the page from {host}");
            return Err(ApiError::forbidden(message));
        }
    }
    if loopback && !host.is_empty() && !is_loopback(host) {
        let message = format!("this process listens on loopback and is not {host}: use 127.0.0.1");
        return Err(ApiError::forbidden(message));
    }
    Ok(())
}

fn is_loopback(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let address = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost")
        || address
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn only_pages_of_this_process_and_its_own_names() {
        let allowed = |host: &'static str, origin: Option<&'static str>, loopback| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, HeaderValue::from_static(host));
            if let Some(origin) = origin {
                headers.insert(header::ORIGIN, HeaderValue::from_static(origin));
            }
            let over_http2 = headers.remove(header::HOST).is_some()
                && check(&headers, Some(host), loopback).is_ok();
            headers.insert(header::HOST, HeaderValue::from_static(host));
            let allowed = check(&headers, None, loopback).is_ok();
            assert_eq!(allowed, over_http2, "{host}");
            allowed
        };
        assert!(allowed("127.0.0.1:9090", None, true));
        assert!(allowed(
            "localhost:9090",
            Some("http://localhost:9090"),
            true
        ));
        assert!(allowed("[::1]:9090", Some("http://[::1]:9090"), true));
        assert!(!allowed(
            "127.0.0.1:9090",
            Some("http://evil.example"),
            true
        ));
        assert!(
            !allowed("127.0.0.1:9090", Some("http://127.0.0.1:8000"), true),
            "another process's page"
        );
        assert!(!allowed("127.0.0.1:9090", Some("null"), true));
        assert!(
            !allowed("evil.example:9090", Some("http://evil.example:9090"), true),
            "rebound name"
        );
        assert!(allowed(
            "desk.bank.example",
            Some("https://desk.bank.example"),
            false
        ));
        assert!(!allowed(
            "desk.bank.example",
            Some("https://evil.example"),
            false
        ));
    }
}
