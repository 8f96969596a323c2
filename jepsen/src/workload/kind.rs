//! The workloads that can be asked for by name.

use clap::ValueEnum;

/// A kind of requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Workload {
    /// Reads, writes, deletions and compare-and-swap of single keys
    Register,
    /// Unique elements added, all read by range; also as one list in one key
    Set,
    /// Transactions that read and append to several lists
    Append,
}

impl Workload {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Register, Self::Set, Self::Append];

    /// Of so many requests of a mixed load, how many are of this kind. Transactions count twice,
    /// since each reads first.
    pub(super) fn weight(self) -> u64 {
        match self {
            Self::Register => 6,
            Self::Set => 2,
            Self::Append => 2,
        }
    }
}
