//! Changes of the membership: what may be asked, when it is refused, and their bytes.
//!
//! The rules are etcd's. They are decided here on plain values, by the leader, one change at a
//! time.
//!
//! ```text
//! change   version(1)=1 again(1) tag(1) body
//!   tag 0  publish   id(8) name urls          tag 3  update   id(8) urls
//!   tag 1  add       id(8) learner(1) urls    tag 4  promote  id(8)
//!   tag 2  remove    id(8)
//! answer   0 count(4) { id(8) member voting(1) } | 1 error(1) | 2 (does not lead)
//! ```

use std::collections::BTreeSet;

use bytes::{BufMut, Bytes, BytesMut};

use super::codec::{
    self, CodecError, flag, put_len, put_member, put_text, put_texts, u8, u32, u64,
};
use super::types::{Member, MemberId};

const VERSION: u8 = 1;

/// A change of the membership.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A member says what it is called and where clients reach it.
    Publish {
        /// Whose entry.
        id: MemberId,
        /// `--name`.
        name: String,
        /// `--advertise-client-urls`.
        client_urls: Vec<String>,
    },
    /// A new member.
    Add {
        /// Its id, which nobody ever had.
        id: MemberId,
        /// It is not to vote.
        learner: bool,
        /// Where it will be reached.
        peer_urls: Vec<String>,
    },
    /// A member goes and never comes back.
    Remove(MemberId),
    /// A member is reached elsewhere.
    Update {
        /// Which.
        id: MemberId,
        /// Where from now on.
        peer_urls: Vec<String>,
    },
    /// A learner is to vote.
    Promote(MemberId),
}

/// Why a change is refused; etcd's errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// The id is taken, or was.
    #[error("member id already exists")]
    MemberExists,
    /// Another member has the peer URL.
    #[error("peer url already exists")]
    PeerUrlExists,
    /// There is no such member.
    #[error("member not found")]
    NotFound,
    /// Only learners are promoted.
    #[error("not a learner")]
    NotLearner,
    /// The learner is too far behind.
    #[error("the learner is not in sync with the leader")]
    LearnerNotReady,
    /// `--max-learners` is reached.
    #[error("too many learners")]
    TooManyLearners,
    /// Too few members have ever started to form a quorum of what it would become.
    #[error("not enough started members")]
    NotEnoughStarted,
    /// Too few members answer to form a quorum of what it would become.
    #[error("unhealthy cluster")]
    Unhealthy,
    /// No answer in time. The change may still be made.
    #[error("request timed out")]
    Timeout,
    /// The node is stopping.
    #[error("server stopped")]
    Stopped,
}

impl ChangeError {
    const ALL: [Self; 10] = [
        Self::MemberExists,
        Self::PeerUrlExists,
        Self::NotFound,
        Self::NotLearner,
        Self::LearnerNotReady,
        Self::TooManyLearners,
        Self::NotEnoughStarted,
        Self::Unhealthy,
        Self::Timeout,
        Self::Stopped,
    ];
}

/// A member, and whether it votes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Its id.
    pub id: MemberId,
    /// What is known of it.
    pub member: Member,
    /// It votes.
    pub voting: bool,
}

impl Row {
    /// What etcd would call a learner: who was added to vote is none, though it does not vote yet.
    #[must_use]
    pub fn is_learner(&self) -> bool {
        !self.voting && !self.member.joining
    }

    fn has_started(&self) -> bool {
        !self.member.name.is_empty()
    }
}

/// What the leader knows when it decides.
#[derive(Debug)]
pub(super) struct Situation {
    pub(super) members: Vec<Row>,
    pub(super) removed: BTreeSet<MemberId>,
    /// Members that answer now, the leader itself included.
    pub(super) active: BTreeSet<MemberId>,
    /// Learners whose log has nearly reached the leader's.
    pub(super) in_sync: BTreeSet<MemberId>,
    /// `--strict-reconfig-check`.
    pub(super) strict: bool,
    /// `--max-learners`.
    pub(super) learners_max: usize,
}

/// What is to be done for a change.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing: it is as it should be.
    Done,
    /// Put a member's entry in place of what is there.
    Set(MemberId, Member),
    /// Remove a member that votes.
    RemoveVoter(MemberId),
    /// Remove one that does not.
    RemoveLearner(MemberId),
    /// Have a member vote.
    Vote(MemberId),
}

impl Situation {
    /// Decides on a change. `again` says that it was asked for before without a known outcome: what
    /// is done already is then no mistake.
    pub(super) fn decide(&self, change: &Change, again: bool) -> Result<Step, ChangeError> {
        match change {
            Change::Publish { id, name, client_urls } => {
                let row = self.find(*id)?;
                let (name, client_urls) = (name.clone(), client_urls.clone());
                Ok(set(row, Member { name, client_urls, ..row.member.clone() }))
            }
            Change::Add { id, learner, peer_urls } => self.add(*id, *learner, peer_urls, again),
            Change::Remove(id) => self.remove(*id, again),
            Change::Update { id, peer_urls } => {
                let row = self.find(*id)?;
                self.check_urls(peer_urls, *id)?;
                let peer_urls = peer_urls.clone();
                Ok(set(row, Member { peer_urls, ..row.member.clone() }))
            }
            Change::Promote(id) => self.promote(*id, again),
        }
    }

    fn add(
        &self,
        id: MemberId,
        learner: bool,
        peer_urls: &[String],
        again: bool,
    ) -> Result<Step, ChangeError> {
        if let Ok(row) = self.find(id) {
            let same = again && row.member.peer_urls == peer_urls;
            return if same { Ok(Step::Done) } else { Err(ChangeError::MemberExists) };
        }
        if self.removed.contains(&id) {
            return Err(ChangeError::MemberExists);
        }
        self.check_urls(peer_urls, id)?;
        let learners = self.members.iter().filter(|row| row.is_learner()).count();
        if learner && learners >= self.learners_max {
            return Err(ChangeError::TooManyLearners);
        }
        if self.strict {
            let members = self.voters().count() + 1;
            let started = self.voters().filter(|row| row.has_started()).count();
            let first_companion = started == 1 && members == 2;
            if !learner && !first_companion && started < quorum(members) {
                return Err(ChangeError::NotEnoughStarted);
            }
            if !first_companion && self.active_voters() < quorum(members) {
                return Err(ChangeError::Unhealthy);
            }
        }
        let peer_urls = peer_urls.to_vec();
        Ok(Step::Set(id, Member { peer_urls, joining: !learner, ..Member::default() }))
    }

    fn remove(&self, id: MemberId, again: bool) -> Result<Step, ChangeError> {
        let row = match self.find(id) {
            Err(_) if again && self.removed.contains(&id) => return Ok(Step::Done),
            found => found?,
        };
        if self.strict && !row.is_learner() {
            let rest = || self.voters().filter(|row| row.id != id);
            let members = rest().count();
            let started = rest().filter(|row| row.has_started()).count();
            if members == 0 || started < quorum(members) {
                return Err(ChangeError::NotEnoughStarted);
            }
            let answering = rest().filter(|row| self.active.contains(&row.id)).count();
            if self.active.contains(&id) && answering < quorum(members) {
                return Err(ChangeError::Unhealthy);
            }
        }
        Ok(if row.voting { Step::RemoveVoter(id) } else { Step::RemoveLearner(id) })
    }

    fn promote(&self, id: MemberId, again: bool) -> Result<Step, ChangeError> {
        let row = self.find(id)?;
        if !row.is_learner() {
            return if again { Ok(Step::Done) } else { Err(ChangeError::NotLearner) };
        }
        if !self.in_sync.contains(&id) {
            return Err(ChangeError::LearnerNotReady);
        }
        let members = self.voters().count() + 1;
        let started = self.voters().filter(|row| row.has_started()).count() + 1;
        if self.strict && started < quorum(members) {
            return Err(ChangeError::NotEnoughStarted);
        }
        Ok(Step::Vote(id))
    }

    fn find(&self, id: MemberId) -> Result<&Row, ChangeError> {
        self.members.iter().find(|row| row.id == id).ok_or(ChangeError::NotFound)
    }

    /// No two members are reached at the same place.
    fn check_urls(&self, peer_urls: &[String], but: MemberId) -> Result<(), ChangeError> {
        let others = self.members.iter().filter(|row| row.id != but);
        let mut taken = others.flat_map(|row| &row.member.peer_urls);
        let is_taken = taken.any(|url| peer_urls.contains(url));
        if is_taken { Err(ChangeError::PeerUrlExists) } else { Ok(()) }
    }

    /// Those that vote or were added to.
    fn voters(&self) -> impl Iterator<Item = &Row> {
        self.members.iter().filter(|row| !row.is_learner())
    }

    fn active_voters(&self) -> usize {
        self.voters().filter(|row| self.active.contains(&row.id)).count()
    }
}

fn set(row: &Row, member: Member) -> Step {
    if row.member == member { Step::Done } else { Step::Set(row.id, member) }
}

const fn quorum(members: usize) -> usize {
    members / 2 + 1
}

/// What the leader answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// The change is made; these are the members now.
    Made(Vec<Row>),
    /// It is refused.
    Refused(ChangeError),
    /// It was not tried: the asked member does not lead, or is busy with another change.
    Again,
}

pub(super) fn encode_change(change: &Change, again: bool) -> Bytes {
    let mut out = BytesMut::new();
    out.put_u8(VERSION);
    out.put_u8(u8::from(again));
    match change {
        Change::Publish { id, name, client_urls } => {
            out.put_u8(0);
            out.put_u64_le(id.0);
            put_text(&mut out, name);
            put_texts(&mut out, client_urls);
        }
        Change::Add { id, learner, peer_urls } => {
            out.put_u8(1);
            out.put_u64_le(id.0);
            out.put_u8(u8::from(*learner));
            put_texts(&mut out, peer_urls);
        }
        Change::Remove(id) => {
            out.put_u8(2);
            out.put_u64_le(id.0);
        }
        Change::Update { id, peer_urls } => {
            out.put_u8(3);
            out.put_u64_le(id.0);
            put_texts(&mut out, peer_urls);
        }
        Change::Promote(id) => {
            out.put_u8(4);
            out.put_u64_le(id.0);
        }
    }
    out.freeze()
}

pub(super) fn decode_change(mut bytes: Bytes) -> Result<(Change, bool), CodecError> {
    let what = "membership change";
    let bytes = &mut bytes;
    codec::version(bytes, what)?;
    let again = flag(bytes, what)?;
    let tag = u8(bytes, what)?;
    let id = MemberId(u64(bytes, what)?);
    let change = match tag {
        0 => {
            let name = codec::text(bytes, what)?;
            Change::Publish { id, name, client_urls: codec::texts(bytes, what)? }
        }
        1 => {
            let learner = flag(bytes, what)?;
            Change::Add { id, learner, peer_urls: codec::texts(bytes, what)? }
        }
        2 => Change::Remove(id),
        3 => Change::Update { id, peer_urls: codec::texts(bytes, what)? },
        4 => Change::Promote(id),
        got => return Err(CodecError::Unknown { what, got }),
    };
    if bytes.is_empty() { Ok((change, again)) } else { Err(CodecError::Malformed { what }) }
}

pub(super) fn encode_answer(answer: &Answer) -> Bytes {
    let mut out = BytesMut::new();
    match answer {
        Answer::Made(members) => {
            out.put_u8(0);
            put_len(&mut out, members.len());
            for row in members {
                out.put_u64_le(row.id.0);
                put_member(&mut out, &row.member);
                out.put_u8(u8::from(row.voting));
            }
        }
        Answer::Refused(error) => {
            out.put_u8(1);
            out.put_u8(*error as u8);
        }
        Answer::Again => out.put_u8(2),
    }
    out.freeze()
}

pub(super) fn decode_answer(mut bytes: Bytes) -> Result<Answer, CodecError> {
    let what = "answer to a membership change";
    let bytes = &mut bytes;
    let answer = match u8(bytes, what)? {
        0 => {
            let mut members = Vec::new();
            for _ in 0..u32(bytes, what)? {
                let id = MemberId(u64(bytes, what)?);
                let member = codec::member(bytes, what)?;
                members.push(Row { id, member, voting: flag(bytes, what)? });
            }
            Answer::Made(members)
        }
        1 => {
            let got = u8(bytes, what)?;
            let known = ChangeError::ALL.into_iter().find(|error| *error as u8 == got);
            Answer::Refused(known.ok_or(CodecError::Unknown { what, got })?)
        }
        2 => Answer::Again,
        got => return Err(CodecError::Unknown { what, got }),
    };
    if bytes.is_empty() { Ok(answer) } else { Err(CodecError::Malformed { what }) }
}

#[cfg(test)]
#[path = "change_test.rs"]
mod tests;
