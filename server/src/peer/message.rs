//! The kinds of calls, what every call says of itself, and why one is refused.

use std::fmt;

use crate::raft::{ClusterId, MemberId};

/// A call with one answer. What its bytes are is Raft's business.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Call {
    /// The leader lives.
    Heartbeat,
    /// A candidate asks for a vote.
    Vote,
    /// Somebody asks whether it would get a vote.
    PreVote,
    /// The leader hands over.
    TransferLeader,
    /// A follower asks the leader for a read index.
    ReadIndex,
    /// A follower hands on commands of its clients.
    Propose,
    /// A member asks the leader to change the membership.
    Reconfigure,
    /// A member asks the leader about leases.
    Lease,
}

/// What every call says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// The cluster that the sender belongs to.
    pub cluster: ClusterId,
    /// The sender.
    pub from: MemberId,
    /// Whom it means to reach.
    pub to: MemberId,
}

/// Why a member does not talk to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Refusal {
    /// The sender belongs to another cluster.
    ForeignCluster,
    /// The sender means another member than the one it reached.
    WrongTarget,
    /// The sender was a member once and has been removed.
    Removed,
    /// The sender is not a member, as far as this one knows.
    Unknown,
    /// The bytes make no sense.
    Malformed,
    /// The member is starting or stopping.
    Unavailable,
}

impl Refusal {
    const ALL: [Self; 6] = [
        Self::ForeignCluster,
        Self::WrongTarget,
        Self::Removed,
        Self::Unknown,
        Self::Malformed,
        Self::Unavailable,
    ];

    /// The word on the wire.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::ForeignCluster => "foreign-cluster",
            Self::WrongTarget => "wrong-target",
            Self::Removed => "removed",
            Self::Unknown => "unknown-member",
            Self::Malformed => "malformed",
            Self::Unavailable => "unavailable",
        }
    }

    /// The refusal that a word names.
    #[must_use]
    pub fn of(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|refusal| refusal.word() == word)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// A refusal with its particulars.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{why}: {text}")]
pub struct Refused {
    /// The kind.
    pub why: Refusal,
    /// For people.
    pub text: String,
}

impl Refused {
    /// A refusal that says why.
    #[must_use]
    pub fn new(why: Refusal, text: impl Into<String>) -> Self {
        Self { why, text: text.into() }
    }
}

/// Why a call has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PeerError {
    /// There was no connection: the other member has certainly not seen the call.
    #[error("not connected to member {to}: {why}")]
    NotSent {
        /// Whom it was for.
        to: MemberId,
        /// What is wrong.
        why: String,
    },
    /// The call was on its way when the connection broke or the time was up: nobody knows.
    #[error("no answer from member {to}: {why}")]
    NoAnswer {
        /// Whom it was for.
        to: MemberId,
        /// What is wrong.
        why: String,
    },
    /// The other member said no, and did nothing.
    #[error("member {to} refuses: {refused}")]
    Refused {
        /// Who said it.
        to: MemberId,
        /// What it said.
        refused: Refused,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_lead_back_to_their_refusals() {
        for refusal in Refusal::ALL {
            assert_eq!(Refusal::of(refusal.word()), Some(refusal));
        }
        assert_eq!(Refusal::of("whatever"), None);
    }
}
