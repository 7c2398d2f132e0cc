//! A replay over the stored orders, as `tapewatch replay --from --to` does it.

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use futures::StreamExt;
use serde::Deserialize;
use tapewatch_detect::{DetectConfig, Engine, Shard};
use tapewatch_model::{Hit, Time};
use tapewatch_store::HistoryOrders;
use utoipa::ToSchema;

use crate::api::error::{ApiError, ErrorBody};
use crate::api::extract::Json;
use crate::hit_writer::write_json_line;
use crate::shared::Shared;
use crate::{guests, rules};

/// What to replay.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReplayRequest {
    /// First event time.
    #[schema(value_type = String)]
    from: Time,
    /// End of the event times, itself not included.
    #[schema(value_type = String)]
    to: Time,
    /// Begin with what is in force in this process (detectors, parameters, rules, components,
    /// suppressions, reference tables) instead of the defaults.
    #[serde(default)]
    in_force: bool,
    /// Rules, each the text of a rule's file (TOML); instead of those in force.
    #[serde(default)]
    rules: Vec<String>,
    /// Only these detectors and rules, or `all`; unless said, those that the configuration and
    /// `rules` switch on.
    #[serde(default)]
    detectors: Vec<String>,
    /// Parameters, as `spoofing.lookback=10s`.
    #[serde(default)]
    set: Vec<String>,
}

impl ReplayRequest {
    /// The configuration that it asks for.
    fn config(&self, shared: &Shared) -> Result<DetectConfig, ApiError> {
        let mut config = match self.in_force {
            true => shared.live.in_force().0.clone(),
            false => DetectConfig::default(),
        };
        if !self.rules.is_empty() {
            let named = |(at, text): (usize, &String)| (format!("rules[{at}]"), text.clone());
            let texts: Vec<_> = self.rules.iter().enumerate().map(named).collect();
            config = config.with_rules(rules::parse(&texts).map_err(ApiError::bad_request)?);
        }
        if self.detectors == ["all"] {
            config.all().map_err(ApiError::bad_request)?;
        } else if !self.detectors.is_empty() {
            config
                .only(&self.detectors)
                .map_err(ApiError::bad_request)?;
        }
        for assignment in &self.set {
            config.set(assignment).map_err(ApiError::bad_request)?;
        }
        Ok(config)
    }
}

/// Runs the detectors over the orders between two times, in the order in which they came, and
/// answers the hits, one JSON object a line. Nothing is stored.
#[utoipa::path(post, path = "/api/v1/replay", tag = "read", request_body = ReplayRequest,
    responses((status = 200, description = "Hits, one JSON object a line.", content_type = "application/x-ndjson"),
        (status = 400, body = ErrorBody)))]
pub(crate) async fn replay(
    State(shared): State<Shared>,
    Json(request): Json<ReplayRequest>,
) -> Result<impl IntoResponse, ApiError> {
    let config = request.config(&shared)?;
    let engine = Engine::with_guests(&config, Shard::WHOLE, guests::provider())
        .map_err(ApiError::bad_request)?;
    // Where queries run, a batch at a time: a replay must not delay publishing either.
    let (store, threads) = (shared.store.clone(), shared.store.clone());
    let orders = threads
        .on_query_threads(async move { store.history_orders(request.from, request.to).await })
        .await??;
    let lines = futures::stream::try_unfold((orders, engine), move |state| {
        let threads = threads.clone();
        async move {
            let next = threads.on_query_threads(next_lines(state)).await;
            next.map_err(|error| error.to_string())?
        }
    });
    // A body stream ends early on an error, which the reader sees as a broken answer.
    let lines = lines.inspect(|lines| {
        if let Err(error) = lines {
            tracing::error!(%error, "a replay broke off");
        }
    });
    Ok((
        [(header::CONTENT_TYPE, "application/x-ndjson")],
        Body::from_stream(lines),
    ))
}

/// What is still to be replayed, and the engine with its windows.
type Replaying = (HistoryOrders, Engine);

/// The hits of the next batch, as lines.
async fn next_lines(
    (mut orders, mut engine): Replaying,
) -> Result<Option<(Bytes, Replaying)>, String> {
    let Some(batch) = orders.next().await.map_err(|error| error.to_string())? else {
        return Ok(None);
    };
    let mut hits: Vec<Hit> = Vec::new();
    engine.apply(&batch, &mut hits);
    if let Some(stopped) = engine.disabled().first() {
        // Its hits would not be whole: the answer breaks off instead of ending as if they were.
        return Err(stopped.to_string());
    }
    let mut lines = Vec::new();
    for hit in &hits {
        write_json_line(&mut lines, hit).map_err(|error| error.to_string())?;
    }
    Ok(Some((Bytes::from(lines), (orders, engine))))
}
