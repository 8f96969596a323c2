//! `/health`: alarms, then the leader, then a read.

use http::StatusCode;
use serde_json::json;

use super::answer::{self, Response};
use super::probe::{Consistency, Probe};
use super::query;
use super::request::Request;
use super::router::HttpState;

pub(super) async fn health(state: &HttpState, request: &Request<'_>) -> Response {
    let serializable =
        query::values(request.query, "serializable").first().is_some_and(|value| value == "true");
    let excluded = query::values(request.query, "exclude");
    match trouble(state.probe.as_ref(), serializable, &excluded).await {
        None => {
            state.metrics.server.health_success.inc();
            answer::text(body("true", ""))
        }
        Some(reason) => {
            state.metrics.server.health_failures.inc();
            tracing::warn!(reason, "health check failed");
            answer::error(StatusCode::SERVICE_UNAVAILABLE, &body("false", &reason))
        }
    }
}

/// Why the member is not healthy, in etcd's words.
async fn trouble(probe: &dyn Probe, serializable: bool, excluded: &[String]) -> Option<String> {
    let is_excluded = |name: &str| excluded.iter().any(|other| other == name);
    if let Some(alarm) = probe.alarms().into_iter().find(|alarm| !is_excluded(alarm.name())) {
        return Some(format!("ALARM {}", alarm.name()));
    }
    if !serializable && !probe.has_leader() {
        return Some("RAFT NO LEADER".to_owned());
    }
    let consistency =
        if serializable { Consistency::Serializable } else { Consistency::Linearizable };
    let read = probe.read_check(consistency).await;
    read.err().map(|error| format!("RANGE ERROR:{error}"))
}

fn body(health: &str, reason: &str) -> String {
    // serde_json sorts keys by name, which is etcd's order here.
    json!({ "health": health, "reason": reason }).to_string()
}
