//! Versions of servers, and the one that a cluster agrees on.
//!
//! Each member publishes the version of its server. The leader takes the lowest of them, without
//! the patch, for the version of the cluster, and writes it into the log as an [`Agreement`], so
//! that all members know it alike and keep it. It only ever rises, unless a downgrade is under way:
//! then it may fall to the downgrade's target, once every member runs that, which ends the
//! downgrade.

use std::fmt;
use std::time::Duration;

use super::change::ChangeError;

/// What a cluster is said to have if its members cannot tell; the lowest version that there is.
const LOWEST: Version = Version::new(3, 0, 0);

/// How long a leader waits for the versions of members that have not told them yet before it says
/// the lowest; the interval of etcd's own look at them.
pub(crate) const UNDECIDED_MAX: Duration = Duration::from_secs(4);

/// A version of etcd: of a server, or of a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    /// Major.
    pub major: u16,
    /// Minor.
    pub minor: u16,
    /// Patch; 0 for a cluster.
    pub patch: u16,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

impl Version {
    /// A version of these parts.
    #[must_use]
    pub const fn new(major: u16, minor: u16, patch: u16) -> Self {
        Self { major, minor, patch }
    }

    /// Reads `X.Y.Z`, or `X.Y` as `X.Y.0`. What follows a hyphen or a plus sign behind three parts
    /// is let pass, as etcd does.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let core = text.split('+').next().unwrap_or_default();
        let core = core.split('-').next().unwrap_or_default();
        let parts: Vec<_> = core.split('.').map(number).collect::<Option<_>>()?;
        match parts[..] {
            [major, minor, patch] => Some(Self { major, minor, patch }),
            [major, minor] if core == text => Some(Self { major, minor, patch: 0 }),
            _ => None,
        }
    }

    /// The version of a cluster of such servers.
    #[must_use]
    pub const fn of_cluster(self) -> Self {
        Self { patch: 0, ..self }
    }

    /// `X.Y`.
    #[must_use]
    pub fn short(&self) -> String {
        format!("{}.{}", self.major, self.minor)
    }

    /// Whether a server of this version may be a member of a cluster that has agreed on something:
    /// it must not be older than the cluster, but for one that is being downgraded to just it.
    pub(crate) fn may_join(self, agreed: &Agreed) -> bool {
        let own = self.of_cluster();
        let fits = |cluster: Version| (LOWEST..=own).contains(&cluster);
        agreed.version.is_none_or(fits) || agreed.downgrade == Some(own)
    }

    /// Whether a server of this version may ask to join a cluster of another.
    #[must_use]
    pub fn may_join_cluster(self, cluster: Option<Self>) -> bool {
        self.may_join(&Agreed { version: cluster, downgrade: None })
    }
}

/// Digits alone.
fn number(text: &str) -> Option<u16> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if digits { text.parse().ok() } else { None }
}

/// What the members have agreed on beside who they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Agreed {
    /// The cluster's version, once there is one.
    pub version: Option<Version>,
    /// The version that the cluster is being downgraded to.
    pub downgrade: Option<Version>,
}

/// An entry of the log about the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Agreement {
    /// The cluster has this version.
    Version(Version),
    /// A downgrade begins, or the one under way ends.
    Downgrade(Option<Version>),
    /// Nothing: whoever stores the entry has shown that it can.
    Nothing,
}

impl Agreed {
    pub(crate) fn take(&mut self, agreement: Agreement) {
        match agreement {
            Agreement::Version(version) => self.version = Some(version),
            Agreement::Downgrade(target) => self.downgrade = target,
            Agreement::Nothing => {}
        }
    }

    /// What the leader is to have agreed on next, given the versions of all members' servers, as
    /// far as they have told them. `waited` says that it has given them the time to.
    pub(super) fn due(&self, servers: &[Option<Version>], waited: bool) -> Option<Agreement> {
        let told: Option<Vec<Version>> = servers.iter().copied().collect();
        let lowest = told.and_then(|all| all.into_iter().min()).map(Version::of_cluster);
        match (self.version, lowest) {
            (None, Some(lowest)) => Some(Agreement::Version(lowest)),
            (None, None) => waited.then_some(Agreement::Version(LOWEST)),
            (Some(_), None) => None,
            (Some(version), Some(lowest)) => match self.downgrade {
                None => (lowest > version).then_some(Agreement::Version(lowest)),
                Some(target) if target != lowest => None,
                Some(_) if lowest < version => Some(Agreement::Version(lowest)),
                Some(_) => Some(Agreement::Downgrade(None)),
            },
        }
    }

    /// Whether a downgrade to `target` may begin: one minor version down, one at a time.
    pub(crate) fn check_downgrade(&self, target: Version) -> Result<(), ChangeError> {
        let version = self.version.ok_or(ChangeError::NoClusterVersion)?;
        let below = version.minor.checked_sub(1).map(|minor| Version { minor, ..version });
        if below != Some(target.of_cluster()) {
            return Err(ChangeError::BadDowngradeTarget);
        }
        if self.downgrade.is_some() { Err(ChangeError::DowngradeRuns) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v(text: &str) -> Version {
        Version::parse(text).unwrap()
    }

    fn agreed(version: &str, downgrade: &str) -> Agreed {
        Agreed { version: Version::parse(version), downgrade: Version::parse(downgrade) }
    }

    #[test]
    fn versions_read_as_etcd_reads_them() {
        for (text, read) in [
            ("3.4.0", Some("3.4.0")),
            ("3.4", Some("3.4.0")),
            ("3.4.5", Some("3.4.5")),
            ("03.4.0", Some("3.4.0")),
            ("3.4.0-alpha", Some("3.4.0")),
            ("3.4.0+x", Some("3.4.0")),
            ("3.4.0-alpha.1+x.2", Some("3.4.0")),
            ("", None),
            ("3", None),
            ("3.4.", None),
            ("3.4.x", None),
            ("3.4.0.0", None),
            ("3.4-alpha", None),
            ("v3.4.0", None),
            (" 3.4.0", None),
            ("+3.4.0", None),
            ("-3.4.0", None),
            ("3.4.99999999", None),
        ] {
            assert_eq!(Version::parse(text).map(|v| v.to_string()).as_deref(), read, "{text:?}");
        }
        assert_eq!(v("3.10.2").short(), "3.10");
    }

    #[test]
    fn the_cluster_has_the_lowest_version_of_its_members() {
        let some = |versions: &[&str]| -> Vec<_> {
            versions.iter().map(|text| Version::parse(text)).collect()
        };
        let set = |text| Some(Agreement::Version(v(text)));
        let over = Some(Agreement::Downgrade(None));
        for (known, servers, waited, due) in [
            (agreed("", ""), vec!["3.7.1"], false, set("3.7.0")),
            (agreed("", ""), vec!["3.7.1", "3.6.4", "3.10.0"], false, set("3.6.0")),
            (agreed("", ""), vec!["3.7.1", ""], false, None),
            (agreed("", ""), vec!["3.7.1", ""], true, set("3.0.0")),
            (agreed("3.0.0", ""), vec!["3.7.1", "3.7.2"], false, set("3.7.0")),
            (agreed("3.6.0", ""), vec!["3.7.1", "3.6.9"], true, None),
            (agreed("3.6.0", ""), vec!["3.7.1", ""], true, None),
            (agreed("3.7.0", ""), vec!["3.7.1", "3.6.9"], true, None),
            (agreed("3.7.0", "3.6.0"), vec!["3.7.1", "3.6.9"], false, set("3.6.0")),
            (agreed("3.7.0", "3.6.0"), vec!["3.7.1", "3.7.9"], false, None),
            (agreed("3.7.0", "3.6.0"), vec!["3.5.1", "3.7.9"], false, None),
            (agreed("3.6.0", "3.6.0"), vec!["3.6.1", "3.6.9"], false, over),
            (agreed("3.6.0", "3.6.0"), vec!["3.7.1", "3.7.9"], false, None),
        ] {
            assert_eq!(known.due(&some(&servers), waited), due, "{known:?} {servers:?}");
        }
    }

    #[test]
    fn old_servers_stay_outside_but_for_a_downgrade() {
        for (own, known, may) in [
            ("3.7.1", agreed("", ""), true),
            ("3.7.1", agreed("3.7.0", ""), true),
            ("3.7.1", agreed("3.6.0", ""), true),
            ("3.7.1", agreed("3.0.0", ""), true),
            ("3.7.1", agreed("2.3.0", ""), false),
            ("3.7.1", agreed("3.8.0", ""), false),
            ("3.7.1", agreed("4.0.0", ""), false),
            ("3.7.1", agreed("3.8.0", "3.7.0"), true),
            ("3.6.1", agreed("3.8.0", "3.7.0"), false),
        ] {
            assert_eq!(v(own).may_join(&known), may, "{own} into {known:?}");
        }
    }

    #[test]
    fn a_downgrade_goes_one_minor_down_and_one_at_a_time() {
        let now = agreed("3.7.0", "");
        assert_eq!(now.check_downgrade(v("3.6.0")), Ok(()));
        assert_eq!(now.check_downgrade(v("3.6.5")), Ok(()), "the patch does not matter");
        for bad in ["3.7.0", "3.5.0", "3.8.0", "2.6.0", "4.6.0"] {
            let refused = now.check_downgrade(v(bad));
            assert_eq!(refused, Err(ChangeError::BadDowngradeTarget), "{bad}");
        }
        let running = agreed("3.7.0", "3.6.0");
        assert_eq!(running.check_downgrade(v("3.6.0")), Err(ChangeError::DowngradeRuns));
        assert_eq!(running.check_downgrade(v("3.5.0")), Err(ChangeError::BadDowngradeTarget));
        assert_eq!(
            agreed("4.0.0", "").check_downgrade(v("3.9.0")),
            Err(ChangeError::BadDowngradeTarget)
        );
        let none = agreed("", "").check_downgrade(v("3.6.0"));
        assert_eq!(none, Err(ChangeError::NoClusterVersion));
    }
}
