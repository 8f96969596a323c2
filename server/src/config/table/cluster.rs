//! Who this member is and how its cluster is put together.

use super::super::flag::{Kind, Section, Support};
use super::partly::path;
use super::{BOOL, DURATION, TEXT, row, uint, used};

const DISCOVERY_MISSING: Support = Support::Missing(
    "discovery of other members is not supported yet: name them in --initial-cluster",
);

pub(super) const MEMBER: Section = Section {
    title: "Member",
    flags: &[
        used("help", BOOL, "false", "print this text and exit"),
        used("version", BOOL, "false", "print the version and exit"),
        used(
            "config-file",
            TEXT,
            "",
            "YAML file with these settings; every other flag and variable is ignored then",
        ),
        used("name", TEXT, "default", "name of this member; appears in --initial-cluster"),
        row(
            "data-dir",
            TEXT,
            "",
            "folder that holds everything; empty: <name>.etcd in the working folder",
            Support::Partly(path),
        ),
        row(
            "wal-dir",
            TEXT,
            "",
            "folder of the log, for a disk of its own; empty: inside the data folder",
            Support::Partly(path),
        ),
    ],
};

pub(super) const CLUSTERING: Section = Section {
    title: "Clustering",
    flags: &[
        used(
            "initial-cluster",
            TEXT,
            "",
            "members that found the cluster: name=url,...; empty: this member alone",
        ),
        used(
            "initial-cluster-state",
            Kind::OneOf(&["new", "existing"]),
            "new",
            "whether the cluster is founded now or runs already: new, existing",
        ),
        used(
            "initial-cluster-token",
            TEXT,
            "etcd-cluster",
            "part of the cluster id, so that two clusters never mix",
        ),
        used(
            "strict-reconfig-check",
            BOOL,
            "true",
            "refuse membership changes that would cost the quorum",
        ),
        used("max-learners", uint(1, 1_000), "1", "learners that a cluster may have"),
        used(
            "force-new-cluster",
            BOOL,
            "false",
            "go on alone with this member's data and drop all others, once their majority is lost",
        ),
    ],
};

pub(super) const DISCOVERY: Section = Section {
    title: "Discovery (not supported yet)",
    flags: &[
        row("discovery-endpoints", TEXT, "", "discovery service", DISCOVERY_MISSING),
        row("discovery-token", TEXT, "", "token of the cluster there", DISCOVERY_MISSING),
        row("discovery-dial-timeout", DURATION, "2s", "time to connect", DISCOVERY_MISSING),
        row("discovery-request-timeout", DURATION, "5s", "time to answer", DISCOVERY_MISSING),
        row("discovery-keepalive-time", DURATION, "2s", "time between pings", DISCOVERY_MISSING),
        row("discovery-keepalive-timeout", DURATION, "6s", "time for a pong", DISCOVERY_MISSING),
        row("discovery-insecure-transport", BOOL, "true", "talk in clear text", DISCOVERY_MISSING),
        row(
            "discovery-insecure-skip-tls-verify",
            BOOL,
            "false",
            "trust any certificate",
            DISCOVERY_MISSING,
        ),
        row("discovery-cert", TEXT, "", "client certificate", DISCOVERY_MISSING),
        row("discovery-key", TEXT, "", "its key", DISCOVERY_MISSING),
        row("discovery-cacert", TEXT, "", "trusted authorities", DISCOVERY_MISSING),
        row("discovery-user", TEXT, "", "user[:password]", DISCOVERY_MISSING),
        row("discovery-password", TEXT, "", "password", DISCOVERY_MISSING),
        row("discovery-srv", TEXT, "", "domain with SRV records", DISCOVERY_MISSING),
        row("discovery-srv-name", TEXT, "", "suffix of the SRV service", DISCOVERY_MISSING),
        row("discovery", TEXT, "", "old discovery service", DISCOVERY_MISSING),
        row("discovery-proxy", TEXT, "", "its proxy", DISCOVERY_MISSING),
        row(
            "discovery-fallback",
            Kind::OneOf(&["exit", "proxy"]),
            "exit",
            "what to do when old discovery fails",
            DISCOVERY_MISSING,
        ),
    ],
};
