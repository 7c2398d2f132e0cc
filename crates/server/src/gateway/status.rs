//! The status through a gateway: that of the role `recent`, and beside it how every role stands.
//!
//! Invariant: it is asked anew each time, of all at once; who does not answer in time is told as the
//! gateway knows it.

use std::sync::atomic::Ordering;

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use serde_json::{Map, Value, json};

use super::{ASK_WITHIN, Gateway, get, peer};
use crate::api::error::ApiError;

/// Longest status of a role that is taken.
const STATUS_BYTES_MAX: usize = 8 << 20;

type Told = Option<Map<String, Value>>;

/// Answers `/api/v1/status`.
pub(super) async fn status(State(gateway): State<Gateway>) -> Response {
    let all = gateway.all();
    let asked = all
        .iter()
        .map(|(role, address)| gateway.told(role, address));
    let told: Vec<Told> = futures::future::join_all(asked).await;
    let of_role = |wanted: &'static str| {
        let each = all.iter().zip(&told);
        each.filter_map(move |((role, address), told)| {
            (*role == wanted).then_some((address, told.as_ref()?))
        })
    };
    let Some((_, recent)) = of_role("recent").next() else {
        let away = gateway.peers.text();
        let text = format!("no recent tells its status: {}", away.trim());
        return ApiError::unavailable(text).into_response();
    };
    let mut status = recent.clone();
    let journal = gateway.peers.last_seq_of("journal");
    status.insert("roles".to_owned(), json!(["gateway"]));
    status.insert(
        "peers".to_owned(),
        json!(gateway.peers.status((journal > 0).then_some(journal))),
    );
    for (_, journal) in of_role("journal") {
        for name in ["subscribers", "shares"] {
            let list = journal.get(name).cloned().unwrap_or_default();
            status.insert(name.to_owned(), list);
        }
    }
    // Each engine has its own: another may still run what one of them has disabled.
    let disabled = of_role("engine").flat_map(|(address, told)| {
        let list = told.get("disabled").and_then(Value::as_array);
        let texts = list.into_iter().flatten().filter_map(Value::as_str);
        texts.map(move |text| format!("engine at {address}: {text}"))
    });
    status.insert("disabled".to_owned(), disabled.collect());
    axum::Json(status).into_response()
}

impl Gateway {
    /// What a peer says of itself, and notes how far it is; one that is away is not waited for.
    async fn told(&self, role: &'static str, address: &str) -> Told {
        let name = peer(role, address);
        if self.peers.is_away(&name) {
            return None;
        }
        let asked = get(address, &self.tls, "/api/v1/status", STATUS_BYTES_MAX);
        let (head, body) = tokio::time::timeout(ASK_WITHIN, asked).await.ok()?.ok()?;
        if !head.status.is_success() {
            return None;
        }
        let told: Map<String, Value> = serde_json::from_slice(&body).ok()?;
        let next_seq = told.get("next_seq").and_then(Value::as_u64)?;
        let last_seq = self.peers.last_seq(&name);
        last_seq.store(next_seq.saturating_sub(1), Ordering::Relaxed);
        Some(told)
    }
}
