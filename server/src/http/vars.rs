//! `/debug/vars`: the command line and raft's state, under the names of Go's expvar.

use serde_json::{Map, Value, json};

use super::probe::RaftStatus;

/// The whole document.
pub(super) fn document(command_line: &[String], fd_limit: i64, raft: &RaftStatus) -> String {
    let document = json!({
        "cmdline": command_line,
        "file_descriptor_limit": fd_limit,
        "raft.status": raft_status(raft),
    });
    format!("{document:#}\n")
}

fn raft_status(raft: &RaftStatus) -> Value {
    let progress: Map<String, Value> = raft
        .progress
        .iter()
        .map(|peer| {
            let state = json!({
                "match": peer.matched,
                "next": peer.next,
                "state": "StateReplicate",
            });
            (hex(peer.member_id), state)
        })
        .collect();
    json!({
        "id": hex(raft.id),
        "term": raft.term,
        "vote": hex(raft.vote),
        "commit": raft.commit,
        "lead": hex(raft.leader),
        "raftState": raft.role.name(),
        "applied": raft.applied,
        "progress": progress,
        "leadtransferee": "0",
    })
}

/// Ids as etcd shows them.
fn hex(id: u64) -> String {
    format!("{id:x}")
}
