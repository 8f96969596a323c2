//! From a data directory to an open log, store and identity.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use keelson_store as store;
use keelson_store::engine::RocksOptions;
use keelson_store::{Applier, Store};
use keelson_wal as wal;
use keelson_wal::Wal;
use keelson_wal::disk::{Disk, RealDisk};

use super::identity::{Identity, IdentityError};
use crate::config::{ClusterState, Config, Url};

/// Why a node did not boot.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    /// The directory is etcd's own.
    #[error(
        "{0} holds etcd's own data, which keelson does not read; start with another --data-dir"
    )]
    EtcdData(PathBuf),
    /// The directory cannot be made or used.
    #[error("data directory {path}")]
    DataDir {
        /// The directory.
        path: PathBuf,
        /// What went wrong.
        #[source]
        source: std::io::Error,
    },
    /// The log.
    #[error("write-ahead log")]
    Wal(#[from] wal::Error),
    /// The store.
    #[error("store")]
    Store(#[from] store::Error),
    /// The identity.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// Told to join, with nothing on disk that says whom.
    #[error(
        "--initial-cluster-state=existing, but the data directory is empty: joining a running \
         cluster is not supported yet; start a new one with --initial-cluster-state=new"
    )]
    NothingToJoin,
    /// A log without an identity: files have been removed by hand.
    #[error(
        "{0} holds a log but no identity file; restore it, or start over with an empty directory"
    )]
    IdentityLost(PathBuf),
}

/// What a node runs on.
pub(super) struct Booted {
    pub(super) identity: Identity,
    pub(super) wal: Wal,
    pub(super) store: Store,
    pub(super) applier: Applier,
}

/// Opens everything that is on disk, making it where there is nothing yet.
pub(super) fn boot(
    config: &Config,
    observer: Option<Arc<dyn wal::Observer>>,
) -> Result<Booted, BootError> {
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let member = config.member.data_dir.join("member");
    if member.join("snap").join("db").exists() {
        return Err(BootError::EtcdData(config.member.data_dir.clone()));
    }
    let wal_dir = config.member.wal_dir.clone().unwrap_or_else(|| member.join("wal"));
    for dir in [&member, &wal_dir] {
        let failed = |source| BootError::DataDir { path: dir.clone(), source };
        disk.create_dir_all(dir).map_err(failed)?;
    }
    let options = wal::Options {
        segment_bytes: config.storage.wal_segment_bytes,
        observer,
        ..wal::Options::default()
    };
    let (wal, recovery) = Wal::open(Arc::clone(&disk), &wal_dir, options)?;
    tracing::info!(?recovery, dir = %wal_dir.display(), "opened the write-ahead log");
    let identity = identity(config, &*disk, &member, &wal)?;
    let (store, applier) = open_store(config, &member.join("store"))?;
    Ok(Booted { identity, wal, store, applier })
}

/// The kept identity, or a founding one where log and store are as empty as the directory.
fn identity(
    config: &Config,
    disk: &dyn Disk,
    member: &Path,
    wal: &Wal,
) -> Result<Identity, BootError> {
    if let Some(identity) = Identity::read(disk, member)? {
        return Ok(identity);
    }
    if wal.state().last.is_some() || wal.vote().is_some() {
        return Err(BootError::IdentityLost(member.to_owned()));
    }
    if config.member.initial_cluster_state == ClusterState::Existing {
        return Err(BootError::NothingToJoin);
    }
    let text = |urls: &[Url]| urls.iter().map(Url::to_string).collect::<Vec<_>>();
    let members: Vec<_> =
        config.member.initial_cluster.iter().map(|member| text(&member.peer_urls)).collect();
    let own = text(&config.peer.advertise_urls);
    let identity = Identity::founding(&own, &members, &config.member.initial_cluster_token);
    identity.write(disk, member)?;
    Ok(identity)
}

/// Splits the memory budget: half for memtables (their size sets how often RocksDB writes), a
/// quarter each for cached blocks and for what the applier remembers of keys.
fn open_store(config: &Config, dir: &Path) -> Result<(Store, Applier), BootError> {
    let budget = usize::try_from(config.storage.memory_budget_bytes).unwrap_or(usize::MAX);
    let rocks = RocksOptions { memtable_bytes: budget / 2, block_cache_bytes: budget / 4 };
    let options = store::Options { meta_cache_bytes: budget / 4, ..store::Options::default() };
    Ok(Store::open_dir(dir, &rocks, options)?)
}
