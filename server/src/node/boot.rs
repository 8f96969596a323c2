//! From a data directory to an open log, store and identity.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use keelson_store as store;
use keelson_store::engine::{RocksEngine, RocksOptions};
use keelson_store::{Applier, Store};
use keelson_wal as wal;
use keelson_wal::Wal;
use keelson_wal::disk::{Disk, RealDisk};

use super::bootstrap;
use super::identity::{Identity, IdentityError};
use crate::config::{ClusterState, Config};
use crate::raft::{
    ClusterId, Member, MemberId, OpenEngine, Stores, StoresError, Version, owner_of,
};

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
    /// Which store is the one.
    #[error("store")]
    Stores(#[from] StoresError),
    /// The identity.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// Told to join, and nobody is there.
    #[error(
        "--initial-cluster-state=existing, but no other member of --initial-cluster answers on \
         its peer URLs; start a new cluster with --initial-cluster-state=new"
    )]
    NobodyAnswers,
    /// Told to join a cluster that does not expect it.
    #[error(
        "cluster {cluster} has no member at {peer_urls}: add this member there first \
         (member add), then start it"
    )]
    NotAdded {
        /// The cluster that was asked.
        cluster: ClusterId,
        /// Where this member would be reached.
        peer_urls: String,
    },
    /// The member has lived before, and what it had promised is gone with its data.
    #[error(
        "member {0} has already been bootstrapped, but its data directory is empty: restore the \
         directory, or remove the member and add it again"
    )]
    KnownAlready(MemberId),
    /// The directory was made with other flags and never got further.
    #[error(
        "{path} was made for member {kept}, but --initial-cluster and --initial-cluster-token \
         give member {given}, and there is no data yet: start with the same flags, or with an \
         empty directory"
    )]
    OtherFlags {
        /// The directory.
        path: PathBuf,
        /// The member that it was made for.
        kept: MemberId,
        /// The one that the flags give.
        given: MemberId,
    },
    /// The directory belongs to another member.
    #[error(
        "{path} is the data directory of member {own}, but --initial-advertise-peer-urls are \
         those of member {other}: start each member with its own directory"
    )]
    OtherMember {
        /// The directory.
        path: PathBuf,
        /// Whose it is.
        own: MemberId,
        /// Whose the flags are.
        other: MemberId,
    },
    /// Told to go on alone, with nothing to go on with.
    #[error(
        "--force-new-cluster makes a cluster of a member's data, but {0} holds none: name the data \
         directory of the member that is left, or start without the flag"
    )]
    NothingToForce(PathBuf),
    /// Told to join a cluster of another version.
    #[error(
        "this server stands for version {own} and cannot join a cluster that has agreed on \
         {cluster}: start a server that is not older than the cluster"
    )]
    OtherVersion {
        /// This server's.
        own: Version,
        /// The cluster's.
        cluster: Version,
    },
    /// A log without an identity: files have been removed by hand.
    #[error(
        "{0} holds a log but no identity file; restore it, or start over with an empty directory"
    )]
    IdentityLost(PathBuf),
}

/// What a node runs on.
pub(super) struct Booted {
    pub(super) identity: Identity,
    /// Who founds the cluster, if that is still to be done.
    pub(super) founders: BTreeMap<MemberId, Member>,
    pub(super) wal: Wal,
    pub(super) stores: Arc<Stores>,
    pub(super) store: Store,
    pub(super) applier: Applier,
}

/// Opens everything that is on disk, making it where there is nothing yet. `new` is who the member
/// becomes if the disk does not say who it is.
pub(super) fn boot(
    config: &Config,
    new: Option<Identity>,
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
    let wal_disk = Arc::clone(&disk);
    #[cfg(feature = "planted-defects")]
    let wal_disk = crate::raft::defects::disk(wal_disk);
    let (wal, recovery) = Wal::open(wal_disk, &wal_dir, options)?;
    tracing::info!(?recovery, dir = %wal_dir.display(), "opened the write-ahead log");
    let identity = identity(new, &*disk, &member, &wal)?;
    let stores = Arc::new(Stores::read(Arc::clone(&disk), &member, opener(config))?);
    let (store, applier) = open_store(config, &stores)?;
    let founders = founders(config, &identity, &wal)?;
    let advertised = bootstrap::text(&config.peer.advertise_urls);
    let owner = owner_of(&store, &advertised)
        .map_err(|source| BootError::DataDir { path: config.member.data_dir.clone(), source })?;
    bootstrap::check_owner(owner, identity.member_id, &config.member.data_dir)?;
    Ok(Booted { identity, founders, wal, stores, store, applier })
}

/// Who founds the cluster: nobody, once there is a log, or where another cluster is joined.
fn founders(
    config: &Config,
    identity: &Identity,
    wal: &Wal,
) -> Result<BTreeMap<MemberId, Member>, BootError> {
    if wal.state().last.is_some() || config.member.initial_cluster_state == ClusterState::Existing {
        return Ok(BTreeMap::new());
    }
    let given = bootstrap::founding(config);
    if given != *identity {
        let path = config.member.data_dir.clone();
        let (kept, given) = (identity.member_id, given.member_id);
        return Err(BootError::OtherFlags { path, kept, given });
    }
    Ok(bootstrap::founders(config))
}

/// The kept identity, or the new one where the log is as empty as the directory.
fn identity(
    new: Option<Identity>,
    disk: &dyn Disk,
    member: &Path,
    wal: &Wal,
) -> Result<Identity, BootError> {
    if let Some(identity) = Identity::read(disk, member)? {
        return Ok(identity);
    }
    let lost = wal.state().last.is_some() || wal.vote().is_some();
    match new {
        Some(identity) if !lost => {
            identity.write(disk, member)?;
            Ok(identity)
        }
        _ => Err(BootError::IdentityLost(member.to_owned())),
    }
}

/// Splits the memory budget: nearly half for memtables (their size sets how often RocksDB writes),
/// a quarter each for cached blocks and for what the applier remembers of keys, and the rest for the
/// newest events.
fn budget(config: &Config) -> (RocksOptions, store::Options) {
    let budget = usize::try_from(config.storage.memory_budget_bytes).unwrap_or(usize::MAX);
    let event_log_bytes = budget / 16;
    let memtable_bytes = budget / 2 - event_log_bytes;
    let rocks = RocksOptions { memtable_bytes, block_cache_bytes: budget / 4 };
    let meta_cache_bytes = budget / 4;
    let options = store::Options { meta_cache_bytes, event_log_bytes, ..store::Options::default() };
    (rocks, options)
}

fn opener(config: &Config) -> OpenEngine {
    let (rocks, _) = budget(config);
    Box::new(move |dir| Ok(Arc::new(RocksEngine::open(dir, &rocks)?)))
}

fn open_store(config: &Config, stores: &Stores) -> Result<(Store, Applier), BootError> {
    let (_, options) = budget(config);
    let engine = stores.open_current().map_err(store::Error::from)?;
    Ok(Store::open(engine, options)?)
}
