//! Who this member is: its id and its cluster's, fixed when the member is born and kept beside
//! its data from then on.
//!
//! The ids are etcd's: hashes over peer URLs and the cluster token, so that every founding member
//! computes the same ones from `--initial-cluster` without asking anybody. On a restart the file
//! decides, whatever the flags say, as with etcd.
//!
//! ```text
//! <data-dir>/member/identity      text, one "word value" a line:
//!   keelson-identity 1            format and version
//!   member_id  8e9e05c52164694d   hexadecimal
//!   cluster_id cdf818194e3a8c32   hexadecimal
//!   crc32      6b2f4c1a           over the bytes of the lines before
//! ```

use std::io;
use std::path::Path;

use keelson_api::etcdserverpb::ResponseHeader;
use keelson_store::types::Revision;
use keelson_wal::disk::Disk;
use sha1::{Digest, Sha1};

use crate::raft::{ClusterId, MemberId};

const FILE: &str = "identity";
const FORMAT: &str = "keelson-identity";
const VERSION: &str = "1";

/// A file this long holds something else.
const FILE_BYTES_MAX: usize = 4096;

/// Who this member is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The cluster's id.
    pub cluster_id: ClusterId,
    /// This member's id.
    pub member_id: MemberId,
}

/// Why there is no identity.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The disk.
    #[error("member identity {path}")]
    Io {
        /// The file.
        path: String,
        /// What went wrong.
        #[source]
        source: io::Error,
    },
    /// The file is not one of ours, or damaged.
    #[error(
        "member identity {path} is damaged: {what}; restore the file from a backup of this data directory"
    )]
    Damaged {
        /// The file.
        path: String,
        /// What is wrong.
        what: String,
    },
    /// A later version wrote the file.
    #[error(
        "member identity {path} has version {got}, this build reads version {VERSION}; run a newer keelson"
    )]
    Version {
        /// The file.
        path: String,
        /// The version found.
        got: String,
    },
}

impl Identity {
    /// The identity of a founding member.
    ///
    /// `members` are the peer URLs of each founding member; `own` those of this one.
    #[must_use]
    pub fn founding(own: &[String], members: &[Vec<String>], token: &str) -> Self {
        let mut ids: Vec<_> = members.iter().map(|urls| member_id(urls, token)).collect();
        ids.sort_unstable();
        let bytes: Vec<u8> = ids.iter().flat_map(|id| id.0.to_be_bytes()).collect();
        Self { cluster_id: ClusterId(first_eight(&bytes)), member_id: member_id(own, token) }
    }

    /// The header of a response from this member.
    #[must_use]
    pub fn header(&self, revision: Revision, raft_term: u64) -> ResponseHeader {
        ResponseHeader {
            cluster_id: self.cluster_id.0,
            member_id: self.member_id.0,
            revision: revision.0,
            raft_term,
        }
    }

    /// Reads the identity kept in `dir`, if there is one.
    ///
    /// # Errors
    /// When the file is there and cannot be read or trusted.
    pub fn read(disk: &dyn Disk, dir: &Path) -> Result<Option<Self>, IdentityError> {
        let path = dir.join(FILE);
        let shown = path.display().to_string();
        let io = |source| IdentityError::Io { path: shown.clone(), source };
        let file = match disk.open_read(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io(error)),
        };
        let mut bytes = vec![0; FILE_BYTES_MAX];
        let len = file.read_at(&mut bytes, 0).map_err(io)?;
        bytes.truncate(len);
        parse(&bytes, &shown).map(Some)
    }

    /// Keeps the identity in `dir`; returns when it is durable.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn write(&self, disk: &dyn Disk, dir: &Path) -> Result<(), IdentityError> {
        let path = dir.join(FILE);
        self.write_file(disk, dir, &path)
            .map_err(|source| IdentityError::Io { path: path.display().to_string(), source })
    }

    fn write_file(&self, disk: &dyn Disk, dir: &Path, path: &Path) -> io::Result<()> {
        let temporary = dir.join(format!("{FILE}.tmp"));
        match disk.remove(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            // A left-over of an interrupted start means nothing.
            Ok(()) | Err(_) => {}
        }
        let file = disk.create(&temporary)?;
        file.write_at(self.text().as_bytes(), 0)?;
        file.sync()?;
        disk.rename(&temporary, path)?;
        disk.sync_dir(dir)
    }

    fn text(&self) -> String {
        let lines = format!(
            "{FORMAT} {VERSION}\nmember_id {:016x}\ncluster_id {:016x}\n",
            self.member_id.0, self.cluster_id.0
        );
        let crc = crc32fast::hash(lines.as_bytes());
        format!("{lines}crc32 {crc:08x}\n")
    }
}

fn parse(bytes: &[u8], path: &str) -> Result<Identity, IdentityError> {
    let damaged = |what: &str| IdentityError::Damaged { path: path.into(), what: what.into() };
    let text = std::str::from_utf8(bytes).map_err(|_| damaged("it is not text"))?;
    let mut lines = text.lines();
    let mut value = |word: &str| {
        let line = lines.next().and_then(|line| line.strip_prefix(word));
        line.map(str::trim).ok_or_else(|| damaged(&format!("there is no {word:?} in its place")))
    };
    // The version comes before the checksum: a later version may sum differently.
    let version = value(FORMAT)?;
    if version != VERSION {
        return Err(IdentityError::Version { path: path.into(), got: version.into() });
    }
    let number =
        |text: &str| u64::from_str_radix(text, 16).map_err(|_| damaged("an id is not hexadecimal"));
    let member_id = MemberId(number(value("member_id")?)?);
    let cluster_id = ClusterId(number(value("cluster_id")?)?);
    let identity = Identity { cluster_id, member_id };
    value("crc32")?;
    if identity.text() != text {
        return Err(damaged("the checksum does not match"));
    }
    Ok(identity)
}

/// The id of a member that is added to a running cluster: as with etcd, the time takes the place of
/// the token, so that a member that comes back after its removal is another one.
#[must_use]
pub fn added_member_id(peer_urls: &[String]) -> MemberId {
    #[expect(clippy::disallowed_methods, reason = "the node is where clocks are read")]
    let now = std::time::SystemTime::now();
    let since = now.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    member_id(peer_urls, &since.as_secs().to_string())
}

fn member_id(peer_urls: &[String], token: &str) -> MemberId {
    let mut urls = peer_urls.to_vec();
    urls.sort_unstable();
    let mut text = urls.concat();
    text.push_str(token);
    MemberId(first_eight(text.as_bytes()))
}

fn first_eight(bytes: &[u8]) -> u64 {
    let digest = Sha1::digest(bytes);
    let (first, _) = digest.split_first_chunk::<8>().expect("a SHA-1 digest has twenty bytes");
    u64::from_be_bytes(*first)
}

#[cfg(test)]
mod tests {
    use keelson_wal::disk::RealDisk;

    use super::*;

    fn urls(text: &str) -> Vec<String> {
        text.split(',').map(str::to_owned).collect()
    }

    #[test]
    fn ids_are_those_etcd_gives() {
        let own = urls("http://localhost:2380");
        let identity = Identity::founding(&own, std::slice::from_ref(&own), "etcd-cluster");
        assert_eq!(identity.member_id.to_string(), "8e9e05c52164694d");
        assert_eq!(identity.cluster_id.to_string(), "cdf818194e3a8c32");
    }

    #[test]
    fn the_order_of_urls_and_members_does_not_matter() {
        let (a, b) = (urls("http://a:1,http://a:2"), urls("http://b:1"));
        let reversed = urls("http://a:2,http://a:1");
        let one = Identity::founding(&a, &[a.clone(), b.clone()], "t");
        let other = Identity::founding(&reversed, &[b, reversed.clone()], "t");
        assert_eq!(one, other);
    }

    #[test]
    fn is_kept_and_read_back() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Identity::read(&RealDisk, dir.path()).unwrap(), None);
        let identity = Identity { cluster_id: ClusterId(1), member_id: MemberId(u64::MAX) };
        identity.write(&RealDisk, dir.path()).unwrap();
        assert_eq!(Identity::read(&RealDisk, dir.path()).unwrap(), Some(identity));
    }

    #[test]
    fn any_change_is_noticed() {
        let identity = Identity { cluster_id: ClusterId(0xabc), member_id: MemberId(0xdef) };
        let text = identity.text();
        assert_eq!(parse(text.as_bytes(), "f").unwrap(), identity);
        for len in 0..text.len() {
            assert!(parse(&text.as_bytes()[..len], "f").is_err(), "cut to {len}");
        }
        for at in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[at] ^= 1;
            assert!(parse(&bytes, "f").is_err(), "flipped at {at}");
        }
        let newer = text.replace("identity 1", "identity 2");
        assert!(matches!(parse(newer.as_bytes(), "f"), Err(IdentityError::Version { .. })));
    }
}
