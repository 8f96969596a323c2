//! A member goes on as a cluster of its own, after the majority it belonged to has been lost.
//!
//! The operator says that the others are gone for good, so this member elects itself: before Raft
//! starts, it appends to its log, at a term above all it knows, a membership that names it alone,
//! and waits until that is on disk. From there on everything is as usual: it is the only voter of
//! the last membership in its log, wins the election that follows, and commits what stands before.
//!
//! Everything in its log is kept. Some of it may never have been committed; but what was, and was
//! acknowledged by a leader that is gone now, looks just the same here. (etcd keeps what it knows to
//! be committed and drops the rest, acknowledged or not.) Memberships in the log, joint ones among
//! them, come to be applied on the way to the last one and mean nothing any more.
//!
//! A kill at any moment is harmless. Before the entry is durable nothing has happened but that a
//! term was passed over, and this member waits for the others as before, or is told again to go on
//! alone. After it, this member is alone with the flag or without it.

use std::collections::{BTreeMap, BTreeSet};

use keelson_store::Store;
use keelson_wal::Wal;
use openraft::EntryPayload;

use super::codec::{self, AppliedMembership, CodecError};
use super::log_store::{entry_id, waited};
use super::types::{LogId, Member, MemberId, Membership, StoredMembership, Vote};

/// Bytes of the log that are looked at in one go.
const READ_CHUNK_BYTES: usize = 4 << 20;

/// Why a member cannot go on alone.
#[derive(Debug, thiserror::Error)]
pub enum ForceError {
    /// It never belonged to a cluster.
    #[error(
        "--force-new-cluster makes a cluster of a member's data, but there is none here: start \
         this member without it"
    )]
    NoData,
    /// The cluster has removed it.
    #[error(
        "--force-new-cluster: member {0} has been removed from its cluster; use the data of one \
         that was not, or restore a backup"
    )]
    Removed(MemberId),
    /// The log.
    #[error("--force-new-cluster: write-ahead log")]
    Wal(#[from] keelson_wal::Error),
    /// The log holds what cannot be read.
    #[error("--force-new-cluster: an entry of the log")]
    Entry(#[from] CodecError),
}

/// Makes this member the only one of its cluster, if it is not that already.
pub(super) async fn force(
    own: MemberId,
    wal: &Wal,
    store: &Store,
    applied: &AppliedMembership,
) -> Result<(), ForceError> {
    let last = last_membership(wal, &applied.stored)?;
    if last.nodes().next().is_none() {
        return Err(ForceError::NoData);
    }
    let node = last.get_node(&own).filter(|_| !applied.removed.contains(&own));
    let node = node.cloned().ok_or(ForceError::Removed(own))?;
    let alone = alone(own, node);
    if last == alone {
        tracing::warn!(member = %own, "--force-new-cluster: this member is alone already");
        return Ok(());
    }
    tell_dropped(own, &last);
    append(own, wal, store, alone).await
}

/// The membership of a cluster of one.
fn alone(own: MemberId, node: Member) -> Membership {
    let nodes = BTreeMap::from([(own, Member { joining: false, ..node })]);
    Membership::new(vec![BTreeSet::from([own])], nodes).expect("its only voter is a node")
}

/// The last membership in the log, or the one that was applied.
fn last_membership(wal: &Wal, applied: &StoredMembership) -> Result<Membership, ForceError> {
    let mut last = applied.membership().clone();
    let state = wal.state();
    let end = state.last.map_or(0, |id| id.index.0 + 1);
    let mut next = state.purged.map_or(0, |id| id.index.0 + 1);
    while next < end {
        let entries = wal.entries(next..end, READ_CHUNK_BYTES)?;
        let Some(read) = entries.last() else { break };
        next = read.id.index.0 + 1;
        let at = applied.log_id().map(|at| at.index);
        for entry in entries.iter().filter(|entry| Some(entry.id.index.0) > at) {
            if let EntryPayload::Membership(membership) = codec::decode_payload(&entry.payload)? {
                last = membership;
            }
        }
    }
    Ok(last)
}

fn tell_dropped(own: MemberId, last: &Membership) {
    for (id, member) in last.nodes().filter(|(id, _)| **id != own) {
        tracing::warn!(
            member = %id,
            name = member.name,
            peer_urls = ?member.peer_urls,
            "--force-new-cluster: this member is dropped from the cluster for good"
        );
    }
    tracing::warn!(member = %own, "--force-new-cluster: going on as the only member");
}

/// Puts the membership at the end of the log, under a term of its own.
async fn append(
    own: MemberId,
    wal: &Wal,
    store: &Store,
    membership: Membership,
) -> Result<(), ForceError> {
    let stopped = |_| keelson_wal::Error::Closed;
    let applied = store.applied().map(|at| codec::log_id(at.term.0, at.index.0));
    let mut last = last_of(wal);
    if applied.as_ref().map(|at| at.index) > last.as_ref().map(|at| at.index) {
        // A quorum held what this member applied, its own disk did not: the log goes on behind it.
        if let Some(applied) = &applied {
            let (done, purged) = waited();
            wal.purge(entry_id(applied), done)?;
            purged.await.map_err(stopped)??;
        }
        last = applied;
    }
    let voted = wal.vote().map(codec::decode_vote).transpose()?;
    let known = voted.map_or(0, |vote| vote.leader_id().term);
    let term = known.max(last.as_ref().map_or(0, |at| at.leader_id.term)) + 1;
    let (done, saved) = waited();
    wal.save_vote(codec::encode_vote(&Vote::new(term, own)), done)?;
    saved.await.map_err(stopped)??;
    let at = codec::log_id(term, last.map_or(0, |at| at.index + 1));
    let payload = codec::encode_payload(EntryPayload::Membership(membership));
    let (done, appended) = waited();
    wal.append(vec![keelson_wal::Entry { id: entry_id(&at), payload }], done)?;
    appended.await.map_err(stopped)??;
    Ok(())
}

fn last_of(wal: &Wal) -> Option<LogId> {
    let state = wal.state();
    state.last.or(state.purged).map(|id| codec::log_id(id.term.0, id.index.0))
}

#[cfg(test)]
#[path = "force_new_test.rs"]
mod tests;
