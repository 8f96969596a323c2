//! `/livez` and `/readyz`: named checks, all or one by one.

use http::StatusCode;

use crate::observe::metrics::Health;

use super::answer::{self, Response};
use super::probe::{Alarm, Consistency, Probe};
use super::query;
use super::request::Request;
use super::router::HttpState;

/// One named check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Check {
    DataCorruption,
    SerializableRead,
    LinearizableRead,
    NonLearner,
}

impl Check {
    fn name(self) -> &'static str {
        match self {
            Check::DataCorruption => "data_corruption",
            Check::SerializableRead => "serializable_read",
            Check::LinearizableRead => "linearizable_read",
            Check::NonLearner => "non_learner",
        }
    }

    async fn run(self, probe: &dyn Probe) -> Result<(), String> {
        match self {
            Check::DataCorruption if probe.alarms().contains(&Alarm::Corrupt) => {
                Err("alarm activated: CORRUPT".to_owned())
            }
            Check::SerializableRead => read(probe, Consistency::Serializable).await,
            Check::LinearizableRead => read(probe, Consistency::Linearizable).await,
            Check::NonLearner if probe.is_learner() => Err("not supported for learner".to_owned()),
            Check::DataCorruption | Check::NonLearner => Ok(()),
        }
    }
}

async fn read(probe: &dyn Probe, consistency: Consistency) -> Result<(), String> {
    probe.read_check(consistency).await.map_err(|error| format!("range error: {error}"))
}

/// The checks behind a path.
fn checks_of(health: Health) -> &'static [Check] {
    match health {
        Health::Livez => &[Check::SerializableRead],
        Health::Readyz => &[
            Check::DataCorruption,
            Check::SerializableRead,
            Check::LinearizableRead,
            Check::NonLearner,
        ],
    }
}

/// All checks but those in `?exclude=`; only those in `?allowlist=` if it is given.
pub(super) async fn all(state: &HttpState, health: Health, request: &Request<'_>) -> Response {
    let excluded = query::values(request.query, "exclude");
    let allowed = query::values(request.query, "allowlist");
    let checks = checks_of(health);
    let is_wanted = |check: &&Check| {
        let named = |names: &[String]| names.iter().any(|name| name == check.name());
        (allowed.is_empty() || named(&allowed)) && !named(&excluded)
    };
    let wanted: Vec<Check> = checks.iter().filter(is_wanted).copied().collect();
    let known = |name: &&String| !checks.iter().any(|check| check.name() == name.as_str());
    // A name that no check has must not make a green answer out of no check at all.
    let unknown: Vec<&String> = allowed.iter().filter(known).collect();
    run(state, health, &wanted, &unknown, request).await
}

/// The check of that name alone; none if there is no such path.
pub(super) async fn one(
    state: &HttpState,
    health: Health,
    name: &str,
    request: &Request<'_>,
) -> Option<Response> {
    let check = checks_of(health).iter().find(|check| check.name() == name)?;
    Some(run(state, health, &[*check], &[], request).await)
}

async fn run(
    state: &HttpState,
    health: Health,
    checks: &[Check],
    unknown: &[&String],
    request: &Request<'_>,
) -> Response {
    let mut lines = String::new();
    let mut good = unknown.is_empty();
    for name in unknown {
        lines.push_str(&format!("[-]{name} failed: no such check\n"));
    }
    for check in checks {
        let name = check.name();
        let result = check.run(state.probe.as_ref()).await;
        state.metrics.server.health_check(health, name, result.is_ok());
        match result {
            Ok(()) => lines.push_str(&format!("[+]{name} ok\n")),
            Err(error) => {
                good = false;
                tracing::warn!(name, error, "health check failed");
                lines.push_str(&format!("[-]{name} failed: {error}\n"));
            }
        }
    }
    if !good {
        return answer::error(StatusCode::SERVICE_UNAVAILABLE, &lines);
    }
    if !query::has(request.query, "verbose") {
        lines.clear();
    }
    answer::text(lines + "ok\n")
}
