//! The admin listener: `/livez`, `/readyz`, `/status`, `/metrics`, `GET` and `PUT /config`. On the control runtime.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Query, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::{Deserialize, Serialize};

use crate::control::Control;

/// Bytes of a configuration in a request.
const CONFIG_BYTES: usize = narthex_document::MAX_BYTES;

struct Admin {
    control: Arc<Control>,
    token: Option<String>,
}

/// Serves until it is dropped. `token`: what each request must carry as a bearer token.
pub async fn serve_admin(
    listener: tokio::net::TcpListener,
    control: Arc<Control>,
    token: Option<String>,
) -> std::io::Result<()> {
    let admin = Arc::new(Admin { control, token });
    let guarded = Router::new()
        .route("/status", get(status))
        .route("/metrics", get(metrics))
        .route("/config", get(read_config).put(write_config))
        .layer(axum::extract::DefaultBodyLimit::max(CONFIG_BYTES))
        .route_layer(axum::middleware::from_fn_with_state(Arc::clone(&admin), authorise));
    let routes = Router::new().route("/livez", get(|| async { "alive\n" })).route("/readyz", get(ready));
    axum::serve(listener, routes.merge(guarded).with_state(admin)).await
}

async fn authorise(State(admin): State<Arc<Admin>>, request: Request, next: Next) -> Response {
    let Some(token) = &admin.token else { return next.run(request).await };
    let given = request.headers().get(header::AUTHORIZATION).map(HeaderValue::as_bytes);
    let given = given.and_then(bearer);
    if given.is_some_and(|given| is_equal(given, token.as_bytes())) {
        return next.run(request).await;
    }
    let challenge = [(header::WWW_AUTHENTICATE, "Bearer realm=\"narthex admin\"")];
    (StatusCode::UNAUTHORIZED, challenge, "a bearer token is needed\n").into_response()
}

/// The credentials of the scheme `Bearer`, whose name is in any case (RFC 9110 11.1).
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked(b"Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then_some(token)
}

/// Takes the same time whatever differs.
fn is_equal(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |differs, (a, b)| differs | (a ^ b)) == 0
}

async fn ready(State(admin): State<Arc<Admin>>) -> Response {
    if !admin.control.is_ready() {
        return (StatusCode::SERVICE_UNAVAILABLE, "draining\n").into_response();
    }
    // Ready all the same: what is closed is closed by itself, and everything else answers.
    let mut text = "ready\n".to_owned();
    for waiting in admin.control.waiting().await {
        let crate::feeds::Waiting { gateway, route, policy, .. } = waiting;
        text.push_str(&format!("waiting: {policy} of {gateway}/{route}\n"));
    }
    text.into_response()
}

async fn status(State(admin): State<Arc<Admin>>) -> Response {
    json(&admin.control.status().await)
}

async fn metrics(State(admin): State<Arc<Admin>>) -> Response {
    let page = admin.control.metrics().await;
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], page).into_response()
}

async fn read_config(State(admin): State<Arc<Admin>>) -> Response {
    let (text, hash) = admin.control.text().await;
    ([(header::CONTENT_TYPE, "application/yaml".to_owned()), (header::ETAG, format!("\"{hash}\""))], text)
        .into_response()
}

#[derive(Deserialize)]
struct Put {
    #[serde(default)]
    dry_run: Option<String>,
}

async fn write_config(
    State(admin): State<Arc<Admin>>,
    Query(put): Query<Put>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let Ok(text) = std::str::from_utf8(&body) else {
        return (StatusCode::BAD_REQUEST, "the configuration is not UTF-8\n").into_response();
    };
    let wanted = headers.get(header::IF_MATCH);
    let is_wanted = |hash: &str| wanted.is_none_or(|wanted| matches(wanted, hash));
    if put.dry_run.is_some_and(|value| value != "0" && value != "false") {
        let (_, hash) = admin.control.text().await;
        if !is_wanted(&hash) {
            return stale(&hash);
        }
        return match admin.control.dry_run(text).await {
            Ok(warnings) => json(&serde_json::json!({ "valid": true, "warnings": warnings })),
            Err(refused) => refusal(&refused),
        };
    }
    let put = match admin.control.put_if(text, is_wanted).await {
        Ok(put) => put,
        Err(hash) => return stale(&hash),
    };
    match put {
        Ok(applied) => {
            let tag = [(header::ETAG, format!("\"{}\"", applied.hash))];
            (tag, json(&applied)).into_response()
        }
        Err(refused) => refusal(&refused),
    }
}

/// Not axum's: its feature turns serde_json's `raw_value` on for the whole gateway.
fn json(value: &impl Serialize) -> Response {
    match serde_json::to_vec(value) {
        Ok(text) => ([(header::CONTENT_TYPE, "application/json")], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

fn stale(hash: &str) -> Response {
    let text = format!("the live configuration is \"{hash}\": somebody changed it meanwhile\n");
    (StatusCode::PRECONDITION_FAILED, [(header::ETAG, format!("\"{hash}\""))], text).into_response()
}

fn refusal(refused: &crate::control::Refused) -> Response {
    let body = serde_json::json!({ "valid": false, "problems": refused.json, "text": refused.rendered });
    (StatusCode::UNPROCESSABLE_ENTITY, json(&body)).into_response()
}

/// A list of entity tags, or `*` (RFC 9110 13.1.1).
fn matches(wanted: &HeaderValue, hash: &str) -> bool {
    let Ok(wanted) = wanted.to_str() else { return false };
    wanted.split(',').map(str::trim).any(|tag| tag == "*" || tag.trim_matches('"') == hash)
}
