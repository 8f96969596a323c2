//! What the HTTP side sees of this node.

use std::sync::Arc;

use keelson_store::Store;

use super::identity::Identity;
use crate::cli::ETCD_VERSION;
use crate::http::{
    Alarm, Consistency, PeerProgress, Probe, ProbeFuture, RaftRole, RaftStatus, Versions,
};
use crate::raft::{RaftHandle, ReadBarrier};

/// The node, for its health checks.
#[derive(Debug)]
pub(super) struct NodeProbe {
    pub(super) identity: Arc<Identity>,
    pub(super) raft: RaftHandle,
    pub(super) barrier: ReadBarrier,
    pub(super) store: Store,
}

impl Probe for NodeProbe {
    fn has_leader(&self) -> bool {
        self.raft.has_leader()
    }

    fn is_learner(&self) -> bool {
        self.raft.is_learner()
    }

    /// Nothing raises alarms yet.
    fn alarms(&self) -> Vec<Alarm> {
        Vec::new()
    }

    fn versions(&self) -> Versions {
        let cluster = self.raft.agreed().version.map(|version| version.to_string());
        Versions { server: ETCD_VERSION.to_owned(), cluster: cluster.clone(), storage: cluster }
    }

    fn raft_status(&self) -> RaftStatus {
        let status = self.raft.status();
        let id = self.identity.member_id;
        let leads = status.leader == Some(id);
        let own = PeerProgress {
            member_id: id.0,
            matched: status.last_index,
            next: status.last_index + 1,
        };
        RaftStatus {
            id: id.0,
            term: status.term,
            vote: status.vote.0,
            commit: status.committed_index,
            applied: status.applied_index,
            leader: status.leader.map_or(0, |leader| leader.0),
            role: if leads { RaftRole::Leader } else { RaftRole::Follower },
            progress: if leads { vec![own] } else { Vec::new() },
        }
    }

    fn read_check(&self, consistency: Consistency) -> ProbeFuture<'_, Result<(), String>> {
        Box::pin(async move {
            if consistency == Consistency::Linearizable {
                self.barrier.pass().await.map_err(|error| format!("etcdserver: {error}"))?;
            }
            self.store.view().get(b"health").map(drop).map_err(|error| error.to_string())
        })
    }
}
