//! What is under test: a program that takes etcd's flags.

use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use clap::ValueEnum;

/// Whose program it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// Ours.
    Keelson,
    /// Real etcd, to prove the harness and to compare with.
    Etcd,
}

impl Kind {
    /// Its name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Keelson => "keelson",
            Self::Etcd => "etcd",
        }
    }
}

/// A program and how it is started.
#[derive(Debug, Clone)]
pub struct Subject {
    /// Whose it is.
    pub kind: Kind,
    /// The program.
    pub program: PathBuf,
    /// Flags besides those that the harness gives.
    pub extra: Vec<String>,
    /// Environment besides the harness's own.
    pub env: Vec<(String, String)>,
    /// Milliseconds between heartbeats of a leader.
    pub heartbeat_ms: u64,
    /// Milliseconds without one until a member stands for election.
    pub election_ms: u64,
}

/// Where one member is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// `host:port` for clients.
    pub client: String,
    /// `host:port` for members.
    pub peer: String,
}

impl Subject {
    /// Finds the program: the one given, or etcd below `$KEELSON_ETCD_DIR`.
    pub fn find(kind: Kind, given: Option<&Path>) -> anyhow::Result<PathBuf> {
        let program = match (given, kind) {
            (Some(path), _) => path.to_owned(),
            (None, Kind::Etcd) => {
                let folder = std::env::var_os("KEELSON_ETCD_DIR").context(
                    "give the program of etcd (--help has the option), or its folder in KEELSON_ETCD_DIR",
                )?;
                PathBuf::from(folder).join("etcd")
            }
            (None, Kind::Keelson) => beside_us("keelson").context(
                "give the program of keelson (--help has the option); it is not beside this one",
            )?,
        };
        ensure!(program.is_file(), "there is no program {}", program.display());
        // Members are started from other folders.
        program.canonicalize().with_context(|| format!("find {}", program.display()))
    }

    /// The flags of one member.
    pub fn arguments(&self, index: usize, places: &[Place], data: &Path) -> Vec<String> {
        let name = |i: usize| format!("n{}", i + 1);
        let own = &places[index];
        let cluster: Vec<String> = places
            .iter()
            .enumerate()
            .map(|(i, place)| format!("{}=http://{}", name(i), place.peer))
            .collect();
        let mut arguments = vec![
            format!("--name={}", name(index)),
            format!("--data-dir={}", data.display()),
            format!("--listen-client-urls=http://{}", own.client),
            format!("--advertise-client-urls=http://{}", own.client),
            format!("--listen-peer-urls=http://{}", own.peer),
            format!("--initial-advertise-peer-urls=http://{}", own.peer),
            format!("--initial-cluster={}", cluster.join(",")),
            "--initial-cluster-state=new".to_owned(),
            "--initial-cluster-token=jepsen".to_owned(),
            format!("--heartbeat-interval={}", self.heartbeat_ms),
            format!("--election-timeout={}", self.election_ms),
        ];
        arguments.extend(self.extra.iter().cloned());
        arguments
    }
}

fn beside_us(name: &str) -> Option<PathBuf> {
    let path = std::env::current_exe().ok()?.parent()?.join(name);
    path.is_file().then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_subjects_get_the_same_flags() {
        let places: Vec<Place> =
            (1..=3).map(|i| Place { client: format!("h{i}:1"), peer: format!("h{i}:2") }).collect();
        let flags = |kind| {
            let subject = Subject {
                kind,
                program: PathBuf::from(kind_name(kind)),
                extra: vec!["--more".to_owned()],
                env: Vec::new(),
                heartbeat_ms: 100,
                election_ms: 1000,
            };
            subject.arguments(1, &places, Path::new("/d"))
        };
        assert_eq!(flags(Kind::Keelson), flags(Kind::Etcd));
        let text = flags(Kind::Etcd).join(" ");
        assert!(text.contains("--name=n2 "), "{text}");
        let cluster = "--initial-cluster=n1=http://h1:2,n2=http://h2:2,n3=http://h3:2 ";
        assert!(text.contains(cluster), "{text}");
        assert!(text.ends_with("--more"), "{text}");
    }

    fn kind_name(kind: Kind) -> &'static str {
        kind.name()
    }

    #[test]
    fn a_missing_program_is_named() {
        let error = Subject::find(Kind::Keelson, Some(Path::new("/no/such"))).unwrap_err();
        assert_eq!(error.to_string(), "there is no program /no/such");
    }
}
