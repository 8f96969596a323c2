//! From a path to its answer.

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, StatusCode};
use serde_json::json;

use crate::config::AllowList;
use crate::observe::metrics::{Health, Metrics};

use super::access;
use super::answer::{self, Response};
use super::checks;
use super::health;
use super::probe::Probe;
use super::request::Request;
use super::vars;

/// What answers are made of; one for all connections.
#[derive(Debug, Clone)]
pub struct HttpState {
    /// The member.
    pub probe: Arc<dyn Probe>,
    /// What `/metrics` shows.
    pub metrics: Arc<Metrics>,
    /// `--cors`.
    pub cors: AllowList,
    /// `--host-whitelist`.
    pub hosts: AllowList,
    /// The process's arguments, for `/debug/vars`.
    pub command_line: Vec<String>,
}

const GET: &[Method] = &[Method::GET];
const GET_HEAD: &[Method] = &[Method::GET, Method::HEAD];

/// Answers a request. Nothing but a health check waits for anything.
pub async fn handle(state: &HttpState, request: Request<'_>) -> Response {
    if let Some(refusal) = access::refuse_host(&state.hosts, &request) {
        return refusal;
    }
    let mut response = if request.method == Method::OPTIONS {
        answer::empty()
    } else {
        route(state, &request).await
    };
    answer::add(&mut response, access::cors(&state.cors, &request));
    if request.method == Method::HEAD {
        *response.body_mut() = Bytes::new();
    }
    response
}

/// The table of paths.
async fn route(state: &HttpState, request: &Request<'_>) -> Response {
    let (path, method) = (request.path, request.method);
    let refused = |allowed| answer::wrong_method(method, allowed);
    match path {
        "/health" | "/version" | "/livez" | "/readyz" => {
            if let Some(refusal) = refused(GET) {
                return refusal;
            }
        }
        "/metrics" | "/debug/vars" => {
            if let Some(refusal) = refused(GET_HEAD) {
                return refusal;
            }
        }
        _ => {}
    }
    match path {
        "/health" => health::health(state, request).await,
        "/livez" => checks::all(state, Health::Livez, request).await,
        "/readyz" => checks::all(state, Health::Readyz, request).await,
        "/version" => answer::json(version(state.probe.as_ref())),
        "/metrics" => answer::metrics(state.metrics.render()),
        "/debug/vars" => answer::json(debug_vars(state)),
        _ => below(state, request).await,
    }
}

/// Paths that go on after a known part.
async fn below(state: &HttpState, request: &Request<'_>) -> Response {
    let path = request.path;
    for (prefix, health) in [("/livez/", Health::Livez), ("/readyz/", Health::Readyz)] {
        let Some(name) = path.strip_prefix(prefix) else { continue };
        if let Some(response) = answer::wrong_method(request.method, GET) {
            return response;
        }
        let found = checks::one(state, health, name, request).await;
        return found.unwrap_or_else(not_found);
    }
    // The gateway, and the path that older clients know it by.
    let is_gateway = path.starts_with("/v3/") || path.starts_with("/v3beta/");
    if is_gateway { answer::no_route() } else { not_found() }
}

fn not_found() -> Response {
    answer::error(StatusCode::NOT_FOUND, "404 page not found")
}

fn version(probe: &dyn Probe) -> String {
    let versions = probe.versions();
    let unknown = |text: Option<String>, word: &str| text.unwrap_or_else(|| word.to_owned());
    let (cluster, storage) =
        (unknown(versions.cluster, "not_decided"), unknown(versions.storage, "unknown"));
    let [server, cluster, storage] = [json!(versions.server), json!(cluster), json!(storage)];
    // Written by hand for the order of the keys, which old scripts rely on.
    format!("{{\"etcdserver\":{server},\"etcdcluster\":{cluster},\"storage\":{storage}}}")
}

fn debug_vars(state: &HttpState) -> String {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let limit = limit.and_then(|limit| i64::try_from(limit).ok()).unwrap_or(i64::MAX);
    vars::document(&state.command_line, limit, &state.probe.raft_status())
}
