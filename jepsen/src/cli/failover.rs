//! `failover`: how long writes stop when the leader goes.

use std::path::PathBuf;

use anyhow::ensure;

use super::Format;
use super::subject::MemberOptions;
use crate::cluster::{Kind, Network, Subject, leftovers};
use crate::failover::{FailoverReport, Method, Settings, measure};
use crate::output::{progress, result};

#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// What is measured; several are taken in turns
    #[arg(long, value_enum, value_delimiter = ',', default_value = "keelson")]
    subject: Vec<Kind>,
    /// Keelson's program [default: beside this one]
    #[arg(long)]
    keelson: Option<PathBuf>,
    /// etcd's program [default: in $KEELSON_ETCD_DIR]
    #[arg(long)]
    etcd: Option<PathBuf>,
    #[command(flatten)]
    members: MemberOptions,
    /// How the leader goes
    #[arg(long, value_enum, default_value = "kill")]
    method: Method,
    /// Writes per second, due at fixed times
    #[arg(long, default_value_t = 2000)]
    rate: u64,
    /// Leaders lost of each subject
    #[arg(long, default_value_t = 5)]
    rounds: u64,
    /// Folder for data while clusters run; take one on a real disk
    #[arg(long, default_value = "target/jepsen")]
    out: PathBuf,
    /// Form of the results
    #[arg(short = 'w', long, value_enum, default_value = "text")]
    write_out: Format,
}

impl Options {
    pub(super) fn run(self) -> anyhow::Result<bool> {
        ensure!(self.rate > 0 && self.rounds > 0, "--rate and --rounds must not be 0");
        ensure!(self.members.nodes >= 3, "a leader is missed by others: --nodes 3 or 5");
        let subjects = self.subjects()?;
        let (guard, run) = leftovers::begin()?;
        let (network, _) = Network::make(self.members.network, &run, self.members.nodes)?;
        ensure!(
            self.method != Method::Isolate || network.can_partition(),
            "isolating a leader needs network namespaces: run as root"
        );
        std::fs::create_dir_all(&self.out)?;
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let report = runtime.block_on(self.measure_all(&subjects, network))?;
        drop(guard);
        match self.write_out {
            Format::Text => result(&report),
            Format::Json => result(serde_json::to_string_pretty(&report)?),
        }
        Ok(true)
    }

    fn subjects(&self) -> anyhow::Result<Vec<Subject>> {
        let program = |kind| match kind {
            Kind::Keelson => self.keelson.as_ref(),
            Kind::Etcd => self.etcd.as_ref(),
        };
        self.subject.iter().map(|kind| self.members.subject(*kind, program(*kind))).collect()
    }

    async fn measure_all(
        &self,
        subjects: &[Subject],
        mut network: Network,
    ) -> anyhow::Result<FailoverReport> {
        let folder = self.out.canonicalize()?;
        let settings = Settings { method: self.method, rate: self.rate, folder };
        let mut rounds = Vec::new();
        for number in 1..=self.rounds {
            for subject in subjects {
                let (round, back) = measure(&settings, subject, network).await?;
                network = back;
                progress(format_args!(
                    "round {number} {}: n{} gone, {:.0} ms without writes, {} writes failed",
                    round.subject, round.leader, round.without_writes_ms, round.failed
                ));
                rounds.push(round);
            }
        }
        let method = self.method.name();
        Ok(FailoverReport::of(method, self.rate, self.members.nodes, rounds))
    }
}
