//! Authentication and TLS.

use super::super::flag::{Kind, Section, Support};
use super::partly::{TLS_MISSING, auth_token};
use super::{BOOL, LIST, TEXT, row, uint, used};

pub(super) const AUTH: Section = Section {
    title: "Authentication",
    flags: &[
        row("auth-token", TEXT, "simple", "kind of token: simple", Support::Partly(auth_token)),
        used("auth-token-ttl", uint(1, 31_536_000), "300", "seconds that an unused token lives"),
        used("bcrypt-cost", uint(4, 31), "10", "rounds of password hashing, as a power of two"),
    ],
};

pub(super) const TLS: Section = Section {
    title: "TLS (not supported yet)",
    flags: &[
        row("cert-file", TEXT, "", "certificate for clients", TLS_MISSING),
        row("key-file", TEXT, "", "its key", TLS_MISSING),
        row("trusted-ca-file", TEXT, "", "authorities of client certificates", TLS_MISSING),
        row("client-crl-file", TEXT, "", "revoked client certificates", TLS_MISSING),
        row("client-cert-auth", BOOL, "false", "demand client certificates", TLS_MISSING),
        row("client-cert-allowed-hostname", LIST, "", "names they may carry", TLS_MISSING),
        row("client-cert-file", TEXT, "", "certificate used as a client", TLS_MISSING),
        row("client-key-file", TEXT, "", "its key", TLS_MISSING),
        row("auto-tls", BOOL, "false", "certificates made at start", TLS_MISSING),
        row("peer-cert-file", TEXT, "", "certificate for peers", TLS_MISSING),
        row("peer-key-file", TEXT, "", "its key", TLS_MISSING),
        row("peer-trusted-ca-file", TEXT, "", "authorities of peers", TLS_MISSING),
        row("peer-crl-file", TEXT, "", "revoked peer certificates", TLS_MISSING),
        row("peer-client-cert-auth", BOOL, "false", "demand peer certificates", TLS_MISSING),
        row("peer-client-cert-file", TEXT, "", "certificate towards peers", TLS_MISSING),
        row("peer-client-key-file", TEXT, "", "its key", TLS_MISSING),
        row("peer-auto-tls", BOOL, "false", "certificates made at start", TLS_MISSING),
        row("peer-cert-allowed-cn", LIST, "", "names that peers may carry", TLS_MISSING),
        row("peer-cert-allowed-hostname", LIST, "", "hosts that peers may carry", TLS_MISSING),
        row(
            "peer-skip-client-san-verification",
            BOOL,
            "false",
            "take peer certificates from any address",
            TLS_MISSING,
        ),
        row("self-signed-cert-validity", uint(1, 1_000), "1", "years they last", TLS_MISSING),
        row("cipher-suites", LIST, "", "suites that are offered", TLS_MISSING),
        row(
            "tls-min-version",
            Kind::OneOf(&["TLS1.2", "TLS1.3"]),
            "TLS1.2",
            "oldest version that is spoken",
            TLS_MISSING,
        ),
        row(
            "tls-max-version",
            Kind::OneOf(&["", "TLS1.2", "TLS1.3"]),
            "",
            "newest version that is spoken",
            TLS_MISSING,
        ),
    ],
};
