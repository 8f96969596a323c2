//! What the HTTP side may see of a member.

use std::fmt;
use std::future::Future;
use std::pin::Pin;

/// A future of a [`Probe`], boxed so that the trait can be a trait object.
pub type ProbeFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// How sure a read must be that it sees the newest state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Consistency {
    /// What this member has.
    Serializable,
    /// What a quorum confirms.
    Linearizable,
}

/// A standing alarm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alarm {
    /// The quota is used up.
    NoSpace,
    /// Members hold different data.
    Corrupt,
    /// Of a newer version.
    Unknown,
}

impl Alarm {
    /// etcd's word for it.
    pub fn name(self) -> &'static str {
        match self {
            Alarm::NoSpace => "NOSPACE",
            Alarm::Corrupt => "CORRUPT",
            Alarm::Unknown => "UNKNOWN",
        }
    }
}

/// What `/version` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Versions {
    /// Of this server, such as `3.7.1`.
    pub server: String,
    /// That the cluster agreed on, such as `3.7.0`; none before it has.
    pub cluster: Option<String>,
    /// Of the data, such as `3.7.0`; none while unknown.
    pub storage: Option<String>,
}

/// Raft's roles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RaftRole {
    /// Follows a leader or waits for one.
    Follower,
    /// Asks whether an election can be won.
    PreCandidate,
    /// Asks for votes.
    Candidate,
    /// Leads.
    Leader,
}

impl RaftRole {
    /// The word that etcd shows.
    pub fn name(self) -> &'static str {
        match self {
            RaftRole::Follower => "StateFollower",
            RaftRole::PreCandidate => "StatePreCandidate",
            RaftRole::Candidate => "StateCandidate",
            RaftRole::Leader => "StateLeader",
        }
    }
}

/// How far another member is, as the leader sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerProgress {
    /// Whose.
    pub member_id: u64,
    /// Last index that it is known to have.
    pub matched: u64,
    /// Index that it is sent next.
    pub next: u64,
}

/// What `/debug/vars` says of raft. An id of 0 means none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RaftStatus {
    /// This member.
    pub id: u64,
    /// Current term.
    pub term: u64,
    /// Who got this member's vote.
    pub vote: u64,
    /// Last committed index.
    pub commit: u64,
    /// Last applied index.
    pub applied: u64,
    /// Who leads.
    pub leader: u64,
    /// What this member is.
    pub role: RaftRole,
    /// All members, if this one leads.
    pub progress: Vec<PeerProgress>,
}

/// What the node offers. Everything but `read_check` answers at once and waits for nothing.
pub trait Probe: Send + Sync + fmt::Debug {
    /// Whether this member knows a leader.
    fn has_leader(&self) -> bool;

    /// Whether this member has no vote.
    fn is_learner(&self) -> bool;

    /// The standing alarms of all members.
    fn alarms(&self) -> Vec<Alarm>;

    /// What `/version` says.
    fn versions(&self) -> Versions;

    /// What `/debug/vars` says.
    fn raft_status(&self) -> RaftStatus;

    /// Reads one key as root and says whether that worked; the error is the text that a client
    /// would get. It ends within the time that a client's request has, whatever happens.
    fn read_check(&self, consistency: Consistency) -> ProbeFuture<'_, Result<(), String>>;
}
