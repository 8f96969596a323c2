//! The families of faults that can be asked for by name.

use anyhow::bail;
use clap::ValueEnum;

/// A family of faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, ValueEnum)]
pub enum Mix {
    /// No faults: the load alone
    None,
    /// SIGKILL of one member, restart after up to 3 s
    Kill,
    /// SIGKILL of whoever leads, restart after up to 3 s
    KillLeader,
    /// SIGKILL of all members at once, restart: loses what was answered before it was synced
    KillAll,
    /// SIGKILL of the leader, then of the others in quick succession while they vote, each
    /// restarted at once: a vote that was not durable is given twice
    KillElection,
    /// SIGSTOP of one member for up to 8 s
    Pause,
    /// SIGSTOP of whoever leads, longer than an election takes; its own clients go on asking, so
    /// that it answers at once when it wakes up: catches stale reads
    PauseLeader,
    /// Links between members dead in both directions: halves, one alone, a bridge, a ring
    Partition,
    /// Links between members dead in one direction
    PartitionOneWay,
    /// The leader cut off from all others, in one or both directions
    IsolateLeader,
    /// All of the above by turns, some at the same time
    All,
}

impl Mix {
    /// The mixes that `all` draws from.
    pub const SINGLE: [Self; 9] = [
        Self::Kill,
        Self::KillLeader,
        Self::KillAll,
        Self::KillElection,
        Self::Pause,
        Self::PauseLeader,
        Self::Partition,
        Self::PartitionOneWay,
        Self::IsolateLeader,
    ];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Kill => "kill",
            Self::KillLeader => "kill-leader",
            Self::KillAll => "kill-all",
            Self::KillElection => "kill-election",
            Self::Pause => "pause",
            Self::PauseLeader => "pause-leader",
            Self::Partition => "partition",
            Self::PartitionOneWay => "partition-one-way",
            Self::IsolateLeader => "isolate-leader",
            Self::All => "all",
        }
    }

    fn needs_partitions(self) -> bool {
        matches!(self, Self::Partition | Self::PartitionOneWay | Self::IsolateLeader)
    }

    fn needs_others(self) -> bool {
        self.needs_partitions() || self == Self::KillElection
    }

    /// Whether the mix can run here, and why not.
    pub fn check(self, nodes: usize, can_partition: bool) -> anyhow::Result<()> {
        if self.needs_others() && nodes < 2 {
            bail!("mix {} needs more than one member: give --nodes 3", self.name());
        }
        if self.needs_partitions() && !can_partition {
            bail!(
                "mix {} cuts links between members, which needs network namespaces: run as root \
                 (CAP_NET_ADMIN and CAP_SYS_ADMIN) with ip from iproute2, without --network loopback",
                self.name()
            );
        }
        Ok(())
    }

    /// The kinds that a list of mixes draws from, those left out of `all` that cannot run here.
    pub fn expand(mixes: &[Self], nodes: usize, can_partition: bool) -> anyhow::Result<Vec<Self>> {
        let mut kinds = Vec::new();
        for mix in mixes {
            mix.check(nodes, can_partition)?;
            match mix {
                Self::None => {}
                Self::All => kinds.extend(
                    Self::SINGLE.iter().filter(|kind| kind.check(nodes, can_partition).is_ok()),
                ),
                Self::Kill
                | Self::KillLeader
                | Self::KillAll
                | Self::KillElection
                | Self::Pause
                | Self::PauseLeader
                | Self::Partition
                | Self::PartitionOneWay
                | Self::IsolateLeader => kinds.push(*mix),
            }
        }
        Ok(kinds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mixes_that_cannot_run_are_refused_with_the_way_out() {
        let error = Mix::expand(&[Mix::Kill, Mix::Partition], 3, false).unwrap_err().to_string();
        assert!(error.contains("mix partition") && error.contains("run as root"), "{error}");
        let error = Mix::expand(&[Mix::KillElection], 1, true).unwrap_err().to_string();
        assert!(error.contains("--nodes 3"), "{error}");
    }

    #[test]
    fn all_takes_what_is_possible() {
        let kinds = |nodes, can| Mix::expand(&[Mix::All], nodes, can).unwrap();
        assert_eq!(kinds(3, true), Mix::SINGLE);
        assert!(!kinds(3, false).contains(&Mix::Partition));
        let alone = [Mix::Kill, Mix::KillLeader, Mix::KillAll, Mix::Pause, Mix::PauseLeader];
        assert_eq!(kinds(1, true), alone);
    }

    #[test]
    fn names_are_those_of_the_command_line() {
        for mix in Mix::value_variants() {
            assert_eq!(mix.to_possible_value().unwrap().get_name(), mix.name());
        }
    }
}
