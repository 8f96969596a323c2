//! The end of a round: every member must serve again, and all is read once more from each.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};

use super::session::{Deadlines, Session};
use super::{BARRIERS, REGISTERS, ROOT};
use crate::checker::unowned_revisions;
use crate::cluster::Endpoints;
use crate::history::{Event, History, Outcome, RangeRequest, Recorder, Request, Response};

/// Numbers of the clients that ask at the end; those of the load are far below.
const FIRST_PROCESS: u64 = 1_000_000;

/// Reads of everything may be large.
const DEADLINES: Deadlines =
    Deadlines { read: Duration::from_secs(10), write: Duration::from_secs(5) };

const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// Revisions without an owner that are looked at; more than that is an anomaly by itself.
const REVISIONS_MAX: usize = 10_000;

/// Writes through each member, reads everything from each in both ways, asks each for its hash at
/// one revision, and looks at each revision that no answer accounts for. What does not come back
/// in time is the error.
pub async fn last_words(
    endpoints: &Arc<Endpoints>,
    recorder: &Arc<Recorder>,
    patience: Duration,
    so_far: impl FnOnce() -> anyhow::Result<History>,
) -> anyhow::Result<()> {
    let until = recorder.clock().elapsed() + patience;
    let mut sessions = Vec::new();
    for node in 0..endpoints.addresses.len() {
        let process = FIRST_PROCESS + u64::try_from(node).context("number of members")?;
        let (endpoints, history) = (Arc::clone(endpoints), Arc::clone(recorder));
        let mut session = Session::new(process, node, endpoints, history, DEADLINES);
        barrier(&mut session, recorder, until).await?;
        sessions.push(session);
    }
    let mut revision = 0;
    for session in &mut sessions {
        for serializable in [false, true] {
            let all = RangeRequest { serializable, ..RangeRequest::prefix(ROOT) };
            let request = Request::range(all);
            let response = insist(session, recorder, until, || request.clone()).await?;
            revision = response.header.revision;
        }
    }
    for session in &mut sessions {
        let hash = session.hash(revision).await;
        let place = || format!("n{} has no hash at revision {revision}", session.node() + 1);
        let hash = hash.map_err(anyhow::Error::msg).with_context(place)?;
        recorder.note(Event::Hash(hash));
    }
    look_at_gaps(&mut sessions[0], recorder, until, &so_far()?).await
}

async fn barrier(
    session: &mut Session,
    recorder: &Recorder,
    until: Duration,
) -> anyhow::Result<()> {
    let node = session.node();
    let mut tries = 0;
    insist(session, recorder, until, || {
        tries += 1;
        Request::put(format!("{BARRIERS}{node}"), format!("barrier.{node}.{tries}"))
    })
    .await?;
    Ok(())
}

/// Asks until there is an answer.
async fn insist(
    session: &mut Session,
    recorder: &Recorder,
    until: Duration,
    mut request: impl FnMut() -> Request,
) -> anyhow::Result<Response> {
    let mut last = "no connection".to_owned();
    loop {
        match session.ask(request()).await {
            Some(Outcome::Ok(response)) => return Ok(response),
            Some(Outcome::Fail(error) | Outcome::Unknown(error)) => last = error,
            None => {}
        }
        let node = session.node() + 1;
        ensure!(recorder.clock().elapsed() < until, "n{node} has not recovered: {last}");
        tokio::time::sleep(RETRY_PAUSE).await;
    }
}

/// A write without an answer may have taken a revision. What that revision holds is read here, so
/// that the checker need not guess: what it wrote, or, if it shows nothing, what all registers
/// were (only registers are ever deleted).
async fn look_at_gaps(
    session: &mut Session,
    recorder: &Recorder,
    until: Duration,
    so_far: &History,
) -> anyhow::Result<()> {
    for revision in unowned_revisions(so_far).into_iter().take(REVISIONS_MAX) {
        let written =
            RangeRequest { revision, min_modified: revision, ..RangeRequest::prefix(ROOT) };
        let response = insist(session, recorder, until, || Request::range(written.clone())).await?;
        if response.answer.kvs().is_empty() {
            let all = RangeRequest { revision, ..RangeRequest::prefix(REGISTERS) };
            insist(session, recorder, until, || Request::range(all.clone())).await?;
        }
    }
    Ok(())
}
