//! Table `meta`: the few records that are about the store as a whole. A key is one byte, never
//! reused; keyed tables (leases; to come: users, alarms) take a byte of their own as prefix.
//!
//! ```text
//! 0x01 schema       │ version │
//! 0x02 state        │ format │ term │ index │ revision │ compacted + 1 │
//! 0x03 membership   bytes of the consensus layer, opaque here
//! 0x04 compaction   │ format │ count │ (compacted, applied revision at that time) … │
//! 0x05, 0x06        leases, see lease.rs
//! ```
//! The state is written in every batch, together with what it counts: that is what makes an entry
//! take effect exactly once.

use crate::types::{LogIndex, LogPosition, Revision, Term};

use super::bytes::{Malformed, Reader, put_natural, put_varint};

/// What this code writes and the only version it reads.
pub(crate) const SCHEMA_VERSION: u8 = 1;

pub(crate) const SCHEMA: &[u8] = &[0x01];
pub(crate) const STATE: &[u8] = &[0x02];
pub(crate) const MEMBERSHIP: &[u8] = &[0x03];
pub(crate) const COMPACTION: &[u8] = &[0x04];

const FORMAT: u8 = 1;

/// How far the store has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct State {
    /// The last entry whose effects are in the store.
    pub(crate) applied: Option<LogPosition>,
    pub(crate) revision: Revision,
    pub(crate) compacted: Revision,
}

impl State {
    /// A store that nothing was ever applied to. Never compacted is -1, so that a first compaction
    /// at 0 is news, as it is to etcd.
    pub(crate) const EMPTY: Self =
        Self { applied: None, revision: Revision::EMPTY, compacted: Revision::NEVER };

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.push(FORMAT);
        match self.applied {
            None => out.push(0),
            Some(LogPosition { term, index }) => {
                out.push(1);
                put_varint(out, term.0);
                put_varint(out, index.0);
            }
        }
        put_natural(out, self.revision.0);
        put_natural(out, self.compacted.0 + 1);
    }

    pub(crate) fn decode(record: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(record);
        if reader.byte("state format")? != FORMAT {
            return Err(Malformed("state format"));
        }
        let applied = match reader.byte("applied flag")? {
            0 => None,
            1 => Some(LogPosition {
                term: Term(reader.varint("term")?),
                index: LogIndex(reader.varint("index")?),
            }),
            _ => return Err(Malformed("applied flag")),
        };
        let revision = Revision(reader.natural("revision")?);
        let compacted = Revision(reader.natural("compacted revision")? - 1);
        reader.end("state")?;
        if revision < Revision::EMPTY || compacted > revision {
            return Err(Malformed("state"));
        }
        Ok(Self { applied, revision, compacted })
    }
}

/// One compaction whose log records may not all be cut yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pending {
    /// What was compacted to.
    pub(crate) compacted: Revision,
    /// The store's revision when it was. Pointers to below `compacted` were written at or below it.
    pub(crate) at: Revision,
}

pub(crate) fn encode_compaction(pending: &[Pending], out: &mut Vec<u8>) {
    out.push(FORMAT);
    put_varint(out, pending.len() as u64);
    for Pending { compacted, at } in pending {
        put_natural(out, compacted.0);
        put_natural(out, at.0);
    }
}

pub(crate) fn decode_compaction(record: &[u8]) -> Result<Vec<Pending>, Malformed> {
    let mut reader = Reader::new(record);
    if reader.byte("compaction format")? != FORMAT {
        return Err(Malformed("compaction format"));
    }
    let count = reader.varint("compaction count")?;
    let mut pending = Vec::new();
    for _ in 0..count {
        let compacted = Revision(reader.natural("compacted revision")?);
        let at = Revision(reader.natural("applied revision")?);
        pending.push(Pending { compacted, at });
    }
    reader.end("compaction")?;
    Ok(pending)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_round_trip_and_reject_every_prefix() {
        let applied = Some(LogPosition { term: Term(u64::MAX), index: LogIndex(12) });
        let full = State { applied, revision: Revision(500), compacted: Revision(499) };
        for state in [State::EMPTY, full] {
            let mut out = Vec::new();
            state.encode(&mut out);
            assert_eq!(State::decode(&out), Ok(state));
            for cut in 0..out.len() {
                assert!(State::decode(&out[..cut]).is_err());
            }
            out.push(0);
            assert!(State::decode(&out).is_err());
        }
    }

    #[test]
    fn compactions_round_trip_and_reject_every_prefix() {
        let pending =
            [(0, 1), (5, 900)].map(|(c, a)| Pending { compacted: Revision(c), at: Revision(a) });
        let mut out = Vec::new();
        encode_compaction(&pending, &mut out);
        assert_eq!(decode_compaction(&out).unwrap(), pending);
        for cut in 0..out.len() {
            assert!(decode_compaction(&out[..cut]).is_err());
        }
        assert!(decode_compaction(&[FORMAT, 0xff, 0xff, 0xff, 0xff, 0x0f]).is_err());
    }
}
