//! Bytes of what Raft keeps in the log and in the store: entry payloads, the vote, the commit
//! mark, the membership. Own encoding, so that a new openraft never changes what is on disk.
//!
//! ```text
//! entry payload   tag(1) body
//!   tag 0         blank, no body: a new leader's first entry
//!   tag 1         commands: the store's encoding of a batch
//!   tag 2         membership: see below
//!   tag 3         proposed commands: member(8) start(8) number(8) flags(1), then as tag 1
//!   tag 4         agreement: 0 version | 1 version (a downgrade begins) | 2 (it ends) | 3 (nothing)
//! vote            version(1)=1 term(8) member(8) committed(1)
//! commit mark     version(1)=1 term(8) index(8)
//! membership      version(1)=3 configs(4) { members(4) { id(8) } }
//!                 nodes(4) { id(8) name urls urls joining(1) version? }
//!                 urls = count(4) { text },  text = len(4) utf-8
//!                 version = major(2) minor(2) patch(2); version? is all zeros if there is none
//! applied one     version(1)=3 term(8) index(8) removed(4) { id(8) } version? downgrade?
//!                 membership, as the store keeps it
//!                 Before version 3 there are no versions, before 2 no joining and no removed.
//! ```
//! Numbers are little-endian. Tags and versions are only ever added.

use std::collections::{BTreeMap, BTreeSet};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use openraft::EntryPayload as Payload;

use super::types::{
    Batch, CommittedLeaderId, EntryPayload, LogId, Member, MemberId, Membership, ProposalId,
    StoredMembership, Vote,
};
use super::version::{Agreed, Agreement, Version};

const TAG_BLANK: u8 = 0;
/// First byte of an entry that holds commands.
pub(crate) const TAG_COMMANDS: u8 = 1;
const TAG_MEMBERSHIP: u8 = 2;
/// First byte of an entry that holds commands and says who proposed them.
const TAG_PROPOSAL: u8 = 3;
/// First byte of an entry that says what the members agree on.
const TAG_AGREEMENT: u8 = 4;
const VERSION: u8 = 1;
/// Memberships say who is joining, and who has been removed.
const MEMBERSHIP_WITH_REMOVED: u8 = 2;
/// They say the versions of servers and of the cluster.
const MEMBERSHIP_VERSION: u8 = 3;

/// Flag of a proposal whose commands may take long to apply, whatever their size.
const LONG: u8 = 1;
/// Bytes in front of the commands of a proposal.
pub(crate) const PROPOSAL_HEADER_BYTES: usize = 26;

/// Bytes that are not what they should be; the log's checksum held, so they were written wrongly
/// or by a newer version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// Fewer bytes than the form needs.
    #[error("{what} ends early")]
    Short {
        /// What was being read.
        what: &'static str,
    },
    /// A tag or version this build does not know.
    #[error("{what} has unknown tag or version {got}")]
    Unknown {
        /// What was being read.
        what: &'static str,
        /// The byte found.
        got: u8,
    },
    /// Text that is not UTF-8, or a membership whose parts do not fit each other.
    #[error("{what} is malformed")]
    Malformed {
        /// What was being read.
        what: &'static str,
    },
}

impl From<CodecError> for std::io::Error {
    fn from(error: CodecError) -> Self {
        Self::new(std::io::ErrorKind::InvalidData, error)
    }
}

pub(crate) fn encode_payload(payload: EntryPayload) -> Bytes {
    match payload {
        Payload::Blank => Bytes::from_static(&[TAG_BLANK]),
        Payload::Normal(Batch(bytes)) => {
            assert!(
                matches!(bytes.first(), Some(&(TAG_COMMANDS | TAG_PROPOSAL | TAG_AGREEMENT))),
                "a batch is built with its tag in front"
            );
            bytes
        }
        Payload::Membership(membership) => {
            let mut out = BytesMut::new();
            out.put_u8(TAG_MEMBERSHIP);
            put_membership(&mut out, &membership);
            out.freeze()
        }
    }
}

pub(crate) fn decode_payload(bytes: &Bytes) -> Result<EntryPayload, CodecError> {
    let what = "entry payload";
    match bytes.first() {
        None => Err(CodecError::Short { what }),
        Some(&TAG_BLANK) => Ok(Payload::Blank),
        Some(&(TAG_COMMANDS | TAG_PROPOSAL | TAG_AGREEMENT)) => {
            Ok(Payload::Normal(Batch(bytes.clone())))
        }
        Some(&TAG_MEMBERSHIP) => Ok(Payload::Membership(decode_membership(&bytes.slice(1..))?)),
        Some(&got) => Err(CodecError::Unknown { what, got }),
    }
}

/// What stands in front of the commands of a proposal.
pub(crate) fn put_proposal_header(out: &mut BytesMut, id: ProposalId, long: bool) {
    out.put_u8(TAG_PROPOSAL);
    out.put_u64_le(id.member.0);
    out.put_u64_le(id.start);
    out.put_u64_le(id.number);
    out.put_u8(if long { LONG } else { 0 });
}

/// An entry's commands, and what its proposer said of them.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Proposed {
    /// Who waits for the outcome; entries of older versions do not say.
    pub(crate) id: Option<ProposalId>,
    /// Applying may take long.
    pub(crate) long: bool,
    /// The store's encoding of a batch.
    pub(crate) commands: Bytes,
}

pub(crate) fn decode_proposal(batch: &Batch) -> Result<Proposed, CodecError> {
    let what = "proposal";
    let mut bytes = batch.0.clone();
    match u8(&mut bytes, what)? {
        TAG_COMMANDS => Ok(Proposed { id: None, long: true, commands: bytes }),
        TAG_PROPOSAL => {
            let member = MemberId(u64(&mut bytes, what)?);
            let start = u64(&mut bytes, what)?;
            let number = u64(&mut bytes, what)?;
            let long = u8(&mut bytes, what)? & LONG != 0;
            let id = Some(ProposalId { member, start, number });
            Ok(Proposed { id, long, commands: bytes })
        }
        got => Err(CodecError::Unknown { what, got }),
    }
}

pub(crate) fn encode_agreement(agreement: Agreement) -> Batch {
    let mut out = BytesMut::with_capacity(8);
    out.put_u8(TAG_AGREEMENT);
    match agreement {
        Agreement::Version(version) => {
            out.put_u8(0);
            put_version(&mut out, Some(version));
        }
        Agreement::Downgrade(Some(target)) => {
            out.put_u8(1);
            put_version(&mut out, Some(target));
        }
        Agreement::Downgrade(None) => out.put_u8(2),
        Agreement::Nothing => out.put_u8(3),
    }
    Batch(out.freeze())
}

/// The agreement that a batch is; `None` if it holds commands.
pub(crate) fn decode_agreement(batch: &Batch) -> Result<Option<Agreement>, CodecError> {
    let what = "agreement";
    let mut bytes = batch.0.clone();
    if u8(&mut bytes, what)? != TAG_AGREEMENT {
        return Ok(None);
    }
    let agreement = match u8(&mut bytes, what)? {
        0 => Agreement::Version(told_version(&mut bytes, what)?),
        1 => Agreement::Downgrade(Some(told_version(&mut bytes, what)?)),
        2 => Agreement::Downgrade(None),
        3 => Agreement::Nothing,
        got => return Err(CodecError::Unknown { what, got }),
    };
    if bytes.is_empty() { Ok(Some(agreement)) } else { Err(CodecError::Malformed { what }) }
}

pub(crate) fn put_version(out: &mut BytesMut, version: Option<Version>) {
    let Version { major, minor, patch } = version.unwrap_or(NO_VERSION);
    [major, minor, patch].into_iter().for_each(|part| out.put_u16_le(part));
}

/// What stands where there is no version.
const NO_VERSION: Version = Version::new(0, 0, 0);

pub(crate) fn maybe_version(
    bytes: &mut Bytes,
    what: &'static str,
) -> Result<Option<Version>, CodecError> {
    let mut part = || bytes.try_get_u16_le().map_err(|_| CodecError::Short { what });
    let version = Version::new(part()?, part()?, part()?);
    Ok(Some(version).filter(|version| *version != NO_VERSION))
}

fn told_version(bytes: &mut Bytes, what: &'static str) -> Result<Version, CodecError> {
    maybe_version(bytes, what)?.ok_or(CodecError::Malformed { what })
}

pub(crate) fn encode_vote(vote: &Vote) -> Bytes {
    let mut out = BytesMut::with_capacity(18);
    out.put_u8(VERSION);
    out.put_u64_le(vote.leader_id().term);
    out.put_u64_le(vote.leader_id().voted_for.0);
    out.put_u8(u8::from(vote.is_committed()));
    out.freeze()
}

pub(crate) fn decode_vote(mut bytes: Bytes) -> Result<Vote, CodecError> {
    let what = "vote";
    version(&mut bytes, what)?;
    let term = u64(&mut bytes, what)?;
    let member = MemberId(u64(&mut bytes, what)?);
    match u8(&mut bytes, what)? {
        0 => Ok(Vote::new(term, member)),
        1 => Ok(Vote::new_committed(term, member)),
        _ => Err(CodecError::Malformed { what }),
    }
}

pub(crate) fn encode_committed(committed: Option<&LogId>) -> Bytes {
    let Some(log_id) = committed else { return Bytes::new() };
    let mut out = BytesMut::with_capacity(17);
    out.put_u8(VERSION);
    out.put_u64_le(log_id.leader_id.term);
    out.put_u64_le(log_id.index);
    out.freeze()
}

pub(crate) fn decode_committed(mut bytes: Bytes) -> Result<Option<LogId>, CodecError> {
    let what = "commit mark";
    if bytes.is_empty() {
        return Ok(None);
    }
    version(&mut bytes, what)?;
    let term = u64(&mut bytes, what)?;
    Ok(Some(log_id(term, u64(&mut bytes, what)?)))
}

pub(crate) fn log_id(term: u64, index: u64) -> LogId {
    LogId::new(CommittedLeaderId::new(term), index)
}

/// What the store keeps of the members.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct AppliedMembership {
    /// The last one applied, with the position of its entry.
    pub(crate) stored: StoredMembership,
    /// Ids that were members and never may be again.
    pub(crate) removed: BTreeSet<MemberId>,
    /// What the members have agreed on.
    pub(crate) agreed: Agreed,
}

pub(crate) fn encode_applied_membership(applied: &AppliedMembership) -> Bytes {
    let mut out = BytesMut::new();
    out.put_u8(MEMBERSHIP_VERSION);
    let at = applied.stored.log_id().as_ref().expect("an applied membership has its place");
    out.put_u64_le(at.leader_id.term);
    out.put_u64_le(at.index);
    put_len(&mut out, applied.removed.len());
    applied.removed.iter().for_each(|id| out.put_u64_le(id.0));
    put_version(&mut out, applied.agreed.version);
    put_version(&mut out, applied.agreed.downgrade);
    put_membership(&mut out, applied.stored.membership());
    out.freeze()
}

pub(crate) fn decode_applied_membership(bytes: &Bytes) -> Result<AppliedMembership, CodecError> {
    let what = "applied membership";
    let mut rest = bytes.clone();
    let version = membership_version(&mut rest, what)?;
    let term = u64(&mut rest, what)?;
    let at = log_id(term, u64(&mut rest, what)?);
    let mut removed = BTreeSet::new();
    if version >= MEMBERSHIP_WITH_REMOVED {
        for _ in 0..u32(&mut rest, what)? {
            removed.insert(MemberId(u64(&mut rest, what)?));
        }
    }
    let mut agreed = Agreed::default();
    if version >= MEMBERSHIP_VERSION {
        agreed.version = maybe_version(&mut rest, what)?;
        agreed.downgrade = maybe_version(&mut rest, what)?;
    }
    let stored = StoredMembership::new(Some(at), decode_membership(&rest)?);
    Ok(AppliedMembership { stored, removed, agreed })
}

fn put_membership(out: &mut BytesMut, membership: &Membership) {
    out.put_u8(MEMBERSHIP_VERSION);
    put_len(out, membership.get_joint_config().len());
    for config in membership.get_joint_config() {
        put_len(out, config.len());
        for id in config {
            out.put_u64_le(id.0);
        }
    }
    put_len(out, membership.nodes().count());
    for (id, member) in membership.nodes() {
        out.put_u64_le(id.0);
        put_member(out, member);
    }
}

/// A member as it stands in a membership.
pub(crate) fn put_member(out: &mut BytesMut, member: &Member) {
    put_text(out, &member.name);
    for urls in [&member.peer_urls, &member.client_urls] {
        put_texts(out, urls);
    }
    out.put_u8(u8::from(member.joining));
    put_version(out, member.version);
}

pub(crate) fn put_texts(out: &mut BytesMut, all: &[String]) {
    put_len(out, all.len());
    all.iter().for_each(|text| put_text(out, text));
}

pub(crate) fn member(bytes: &mut Bytes, what: &'static str) -> Result<Member, CodecError> {
    member_of(MEMBERSHIP_VERSION, bytes, what)
}

fn member_of(version: u8, bytes: &mut Bytes, what: &'static str) -> Result<Member, CodecError> {
    let name = text(bytes, what)?;
    let peer_urls = texts(bytes, what)?;
    let client_urls = texts(bytes, what)?;
    let joining = version >= MEMBERSHIP_WITH_REMOVED && flag(bytes, what)?;
    let told = if version >= MEMBERSHIP_VERSION { maybe_version(bytes, what)? } else { None };
    Ok(Member { name, peer_urls, client_urls, joining, version: told })
}

fn decode_membership(bytes: &Bytes) -> Result<Membership, CodecError> {
    let what = "membership";
    let bytes = &mut bytes.clone();
    let version = membership_version(bytes, what)?;
    let mut configs = Vec::new();
    for _ in 0..u32(bytes, what)? {
        let mut config = BTreeSet::new();
        for _ in 0..u32(bytes, what)? {
            config.insert(MemberId(u64(bytes, what)?));
        }
        configs.push(config);
    }
    let mut nodes = BTreeMap::new();
    for _ in 0..u32(bytes, what)? {
        let id = MemberId(u64(bytes, what)?);
        nodes.insert(id, member_of(version, bytes, what)?);
    }
    Membership::new(configs, nodes).map_err(|_| CodecError::Malformed { what })
}

pub(crate) fn put_len(out: &mut BytesMut, len: usize) {
    out.put_u32_le(
        u32::try_from(len).expect("a membership is small: members and urls are checked"),
    );
}

pub(crate) fn put_text(out: &mut BytesMut, text: &str) {
    put_len(out, text.len());
    out.put_slice(text.as_bytes());
}

pub(crate) fn version(bytes: &mut Bytes, what: &'static str) -> Result<(), CodecError> {
    match u8(bytes, what)? {
        VERSION => Ok(()),
        got => Err(CodecError::Unknown { what, got }),
    }
}

fn membership_version(bytes: &mut Bytes, what: &'static str) -> Result<u8, CodecError> {
    match u8(bytes, what)? {
        known @ VERSION..=MEMBERSHIP_VERSION => Ok(known),
        got => Err(CodecError::Unknown { what, got }),
    }
}

pub(crate) fn flag(bytes: &mut Bytes, what: &'static str) -> Result<bool, CodecError> {
    match u8(bytes, what)? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(CodecError::Malformed { what }),
    }
}

pub(crate) fn u8(bytes: &mut Bytes, what: &'static str) -> Result<u8, CodecError> {
    bytes.try_get_u8().map_err(|_| CodecError::Short { what })
}

pub(crate) fn u32(bytes: &mut Bytes, what: &'static str) -> Result<u32, CodecError> {
    bytes.try_get_u32_le().map_err(|_| CodecError::Short { what })
}

pub(crate) fn u64(bytes: &mut Bytes, what: &'static str) -> Result<u64, CodecError> {
    bytes.try_get_u64_le().map_err(|_| CodecError::Short { what })
}

pub(crate) fn text(bytes: &mut Bytes, what: &'static str) -> Result<String, CodecError> {
    let len = u32(bytes, what)? as usize;
    if bytes.len() < len {
        return Err(CodecError::Short { what });
    }
    String::from_utf8(bytes.split_to(len).to_vec()).map_err(|_| CodecError::Malformed { what })
}

pub(crate) fn texts(bytes: &mut Bytes, what: &'static str) -> Result<Vec<String>, CodecError> {
    (0..u32(bytes, what)?).map(|_| text(bytes, what)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn membership() -> Membership {
        let member = |name: &str| Member {
            name: name.into(),
            peer_urls: vec!["http://localhost:2380".into()],
            client_urls: vec!["http://localhost:2379".into(), "http://127.0.0.1:1".into()],
            joining: name.is_empty(),
            version: Some(Version::new(3, 7, 1)).filter(|_| !name.is_empty()),
        };
        Membership::new(
            vec![BTreeSet::from([MemberId(7)]), BTreeSet::from([MemberId(7), MemberId(9)])],
            BTreeMap::from([(MemberId(7), member("a")), (MemberId(9), member(""))]),
        )
        .unwrap()
    }

    #[test]
    fn payloads_come_back_as_they_were() {
        let batch = Batch(Bytes::from_static(&[TAG_COMMANDS, 1, 2, 3]));
        for payload in [Payload::Blank, Payload::Normal(batch), Payload::Membership(membership())] {
            let bytes = encode_payload(payload.clone());
            assert_eq!(decode_payload(&bytes).unwrap(), payload);
        }
    }

    #[test]
    fn votes_and_commit_marks_come_back_as_they_were() {
        for vote in [Vote::new(3, MemberId(u64::MAX)), Vote::new_committed(4, MemberId(1))] {
            assert_eq!(decode_vote(encode_vote(&vote)).unwrap(), vote);
        }
        for mark in [None, Some(log_id(5, 17))] {
            assert_eq!(decode_committed(encode_committed(mark.as_ref())).unwrap(), mark);
        }
    }

    #[test]
    fn an_applied_membership_keeps_its_place_and_who_was_removed() {
        let applied = AppliedMembership {
            stored: StoredMembership::new(Some(log_id(3, 4)), membership()),
            removed: BTreeSet::from([MemberId(1), MemberId(u64::MAX)]),
            agreed: Agreed { version: Some(Version::new(3, 7, 0)), downgrade: None },
        };
        let bytes = encode_applied_membership(&applied);
        assert_eq!(decode_applied_membership(&bytes).unwrap(), applied);
        for len in 0..bytes.len() {
            assert!(decode_applied_membership(&bytes.slice(..len)).is_err(), "{len}");
        }
    }

    #[test]
    fn memberships_of_the_first_version_are_read() {
        let mut bytes = BytesMut::from(&encode_committed(Some(&log_id(3, 4)))[..]);
        bytes.put_u8(1);
        put_len(&mut bytes, 1);
        put_len(&mut bytes, 1);
        bytes.put_u64_le(7);
        put_len(&mut bytes, 1);
        bytes.put_u64_le(7);
        put_text(&mut bytes, "a");
        put_texts(&mut bytes, &["http://localhost:2380".to_owned()]);
        put_texts(&mut bytes, &[]);
        let applied = decode_applied_membership(&bytes.freeze()).unwrap();
        assert_eq!(applied.removed, BTreeSet::new());
        let node = applied.stored.get_node(&MemberId(7)).unwrap();
        assert_eq!((node.name.as_str(), node.joining, node.version), ("a", false, None));
        assert_eq!(applied.agreed, Agreed::default());
    }

    #[test]
    fn proposals_say_who_waits_for_them() {
        let id = ProposalId { member: MemberId(1), start: 2, number: u64::MAX };
        for long in [false, true] {
            let mut bytes = BytesMut::new();
            put_proposal_header(&mut bytes, id, long);
            assert_eq!(bytes.len(), PROPOSAL_HEADER_BYTES);
            bytes.extend_from_slice(b"commands");
            let batch = Batch(bytes.freeze());
            let commands = Bytes::from_static(b"commands");
            let expected = Proposed { id: Some(id), long, commands };
            assert_eq!(decode_proposal(&batch).unwrap(), expected);
            for len in 0..PROPOSAL_HEADER_BYTES {
                assert!(decode_proposal(&Batch(batch.0.slice(..len))).is_err(), "{len}");
            }
        }
        let old = Batch(Bytes::from_static(&[TAG_COMMANDS, 1, 2]));
        assert_eq!(decode_proposal(&old).unwrap().id, None);
    }

    #[test]
    fn agreements_come_back_as_they_were() {
        let version = Version::new(3, 7, 0);
        for agreement in [
            Agreement::Version(version),
            Agreement::Downgrade(Some(version)),
            Agreement::Downgrade(None),
            Agreement::Nothing,
        ] {
            let batch = encode_agreement(agreement);
            assert_eq!(decode_agreement(&batch).unwrap(), Some(agreement));
            let payload = Payload::Normal(batch.clone());
            assert_eq!(decode_payload(&encode_payload(payload.clone())).unwrap(), payload);
            for len in 0..batch.0.len() {
                let cut = Batch(batch.0.slice(..len));
                assert!(decode_agreement(&cut).is_err(), "{len} bytes of {agreement:?}");
            }
            assert!(decode_proposal(&batch).is_err(), "nobody's clients propose it");
        }
        let commands = Batch(Bytes::from_static(&[TAG_COMMANDS, 1]));
        assert_eq!(decode_agreement(&commands).unwrap(), None);
    }

    #[test]
    fn every_prefix_is_refused() {
        let whole = encode_payload(Payload::Membership(membership()));
        for len in 0..whole.len() {
            assert!(decode_payload(&whole.slice(..len)).is_err(), "{len} of {} bytes", whole.len());
        }
        let vote = encode_vote(&Vote::new(1, MemberId(2)));
        for len in 0..vote.len() {
            assert!(decode_vote(vote.slice(..len)).is_err(), "{len} of {} bytes", vote.len());
        }
    }

    #[test]
    fn unknown_tags_and_versions_are_named() {
        let error = decode_payload(&Bytes::from_static(&[9])).unwrap_err();
        assert_eq!(error.to_string(), "entry payload has unknown tag or version 9");
        let error = decode_vote(Bytes::from_static(&[2, 0])).unwrap_err();
        assert_eq!(error.to_string(), "vote has unknown tag or version 2");
    }
}
