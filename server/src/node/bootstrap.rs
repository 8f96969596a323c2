//! How a member comes into being: it founds a cluster with others, or joins one that runs.
//!
//! A member that has an identity on disk is neither: its flags do not matter any more. Whoever is
//! new asks the others first. A founder that the others have known already has lost its data, and
//! with it the votes and entries it had promised to keep; it must not take part again under the
//! same id.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use keelson_wal::disk::RealDisk;

use super::boot::BootError;
use super::identity::Identity;
use super::peers::own_version;
use crate::config::{ClusterMember, ClusterState, Config, Url};
use crate::peer::{Dialer, RemoteCluster, ask_members};
use crate::raft::{Member, MemberId};

/// How long another member may take to say who the members are.
const ASK_TIMEOUT: Duration = Duration::from_secs(1);

/// How often all others are asked before a member gives up joining: they may be starting too, or
/// not have heard yet that this one was added.
const ASK_ROUNDS_MAX: usize = 5;

/// Pause between two rounds.
const ASK_PAUSE: Duration = Duration::from_millis(500);

/// The identity of a member that has none on disk; `None` for one that has.
pub(super) async fn new_identity(
    config: &Config,
    dialer: &Dialer,
) -> Result<Option<Identity>, BootError> {
    let member = config.member.data_dir.join("member");
    if Identity::read(&RealDisk, &member)?.is_some() {
        return Ok(None);
    }
    if config.member.force_new_cluster {
        return Err(BootError::NothingToForce(config.member.data_dir.clone()));
    }
    match config.member.initial_cluster_state {
        ClusterState::New => {
            let identity = founding(config);
            if let Some(cluster) = ask_others(config, dialer).await {
                check_not_known(&cluster, identity.member_id)?;
            }
            Ok(Some(identity))
        }
        ClusterState::Existing => join(config, dialer).await.map(Some),
    }
}

/// The identity that the flags give to a founder.
pub(super) fn founding(config: &Config) -> Identity {
    let members: Vec<_> =
        config.member.initial_cluster.iter().map(|member| text(&member.peer_urls)).collect();
    let own = text(&config.peer.advertise_urls);
    Identity::founding(&own, &members, &config.member.initial_cluster_token)
}

/// The members that found the cluster, as every one of them concludes from its flags; the first
/// entry of the log. Names are left out: the ids do not vouch for them.
pub(super) fn founders(config: &Config) -> BTreeMap<MemberId, Member> {
    let token = &config.member.initial_cluster_token;
    let founder = |member: &ClusterMember| {
        let mut peer_urls = text(&member.peer_urls);
        peer_urls.sort_unstable();
        let id = Identity::founding(&peer_urls, &[], token).member_id;
        (id, Member { peer_urls, ..Member::default() })
    };
    config.member.initial_cluster.iter().map(founder).collect()
}

/// Asks the cluster that runs who this member is to be.
async fn join(config: &Config, dialer: &Dialer) -> Result<Identity, BootError> {
    let mut own = text(&config.peer.advertise_urls);
    own.sort_unstable();
    let mut found = None;
    for round in 0..ASK_ROUNDS_MAX {
        if round > 0 {
            tokio::time::sleep(ASK_PAUSE).await;
        }
        let Some(cluster) = ask_others(config, dialer).await else { continue };
        let member = cluster.members.iter().find(|member| {
            let mut urls = member.peer_urls.clone();
            urls.sort_unstable();
            urls == own
        });
        if let Some(member) = member {
            let identity = Identity { cluster_id: cluster.id, member_id: member.id };
            check_not_known(&cluster, identity.member_id)?;
            check_version(&cluster)?;
            return Ok(identity);
        }
        found = Some(cluster.id);
    }
    match found {
        Some(cluster) => Err(BootError::NotAdded { cluster, peer_urls: own.join(",") }),
        None => Err(BootError::NobodyAnswers),
    }
}

/// Refuses to join a cluster that has agreed on a version that this server is too old for, or knows
/// nothing of any more.
fn check_version(cluster: &RemoteCluster) -> Result<(), BootError> {
    let own = own_version();
    match cluster.version {
        Some(version) if !own.may_join_cluster(Some(version)) => {
            Err(BootError::OtherVersion { own, cluster: version })
        }
        _ => Ok(()),
    }
}

fn check_not_known(cluster: &RemoteCluster, id: MemberId) -> Result<(), BootError> {
    let known = cluster.members.iter().any(|member| member.id == id && member.published);
    if known { Err(BootError::KnownAlready(id)) } else { Ok(()) }
}

/// What the first of the others to answer says.
async fn ask_others(config: &Config, dialer: &Dialer) -> Option<RemoteCluster> {
    let others = config.member.initial_cluster.iter().filter(|m| m.name != config.member.name);
    for url in others.flat_map(|member| &member.peer_urls) {
        match ask_members(dialer, &url.to_string(), ASK_TIMEOUT).await {
            Ok(cluster) => return Some(cluster),
            Err(error) => tracing::debug!(%error, "asking for the members of the cluster"),
        }
    }
    None
}

/// Refuses a data directory that another member of these peer URLs' cluster left.
pub(super) fn check_owner(
    owner: Option<MemberId>,
    own: MemberId,
    data_dir: &Path,
) -> Result<(), BootError> {
    match owner {
        Some(other) if other != own => {
            Err(BootError::OtherMember { path: data_dir.to_owned(), own, other })
        }
        _ => Ok(()),
    }
}

pub(super) fn text(urls: &[Url]) -> Vec<String> {
    urls.iter().map(Url::to_string).collect()
}
