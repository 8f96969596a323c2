//! Authentication and TLS.

use super::super::flag::{Kind, Section, Support};
use super::partly::{auth_token, cipher_suites, path};
use super::{BOOL, LIST, TEXT, row, uint, used};

pub(super) const AUTH: Section = Section {
    title: "Authentication",
    flags: &[
        row("auth-token", TEXT, "simple", "kind of token: simple", Support::Partly(auth_token)),
        used("auth-token-ttl", uint(1, 31_536_000), "300", "seconds that an unused token lives"),
        used("bcrypt-cost", uint(4, 31), "10", "rounds of password hashing, as a power of two"),
    ],
};

const GATEWAY: Support =
    Support::Inert("the gateway reaches its own member without a connection, so it needs none");

const FILE: Support = Support::Partly(path);

pub(super) const TLS: Section = Section {
    title: "TLS (files are read again when they change)",
    flags: &[
        row("cert-file", TEXT, "", "certificate for clients, PEM; needed for https", FILE),
        row("key-file", TEXT, "", "its key, PEM", FILE),
        row(
            "trusted-ca-file",
            TEXT,
            "",
            "authorities of client certificates, PEM; given, clients must show a certificate",
            FILE,
        ),
        row("client-crl-file", TEXT, "", "revoked client certificates, PEM or DER", FILE),
        used("client-cert-auth", BOOL, "false", "demand client certificates"),
        used(
            "client-cert-allowed-hostname",
            LIST,
            "",
            "host names one of which client certificates must be valid for",
        ),
        row("client-cert-file", TEXT, "", "certificate used as a client", GATEWAY),
        row("client-key-file", TEXT, "", "its key", GATEWAY),
        used(
            "auto-tls",
            BOOL,
            "false",
            "make a certificate for clients in the data folder at the first start",
        ),
        row("peer-cert-file", TEXT, "", "certificate for other members, PEM", FILE),
        row("peer-key-file", TEXT, "", "its key, PEM", FILE),
        row(
            "peer-trusted-ca-file",
            TEXT,
            "",
            "authorities of members, PEM; given, members must show a certificate",
            FILE,
        ),
        row("peer-crl-file", TEXT, "", "revoked certificates of members, PEM or DER", FILE),
        used("peer-client-cert-auth", BOOL, "false", "demand certificates of other members"),
        row(
            "peer-client-cert-file",
            TEXT,
            "",
            "certificate shown to other members; empty: --peer-cert-file",
            FILE,
        ),
        row("peer-client-key-file", TEXT, "", "its key", FILE),
        used(
            "peer-auto-tls",
            BOOL,
            "false",
            "make a certificate in the data folder at the first start; members check none",
        ),
        used("peer-cert-allowed-cn", LIST, "", "common names one of which members must have"),
        used(
            "peer-cert-allowed-hostname",
            LIST,
            "",
            "host names one of which certificates of members must be valid for",
        ),
        used(
            "peer-skip-client-san-verification",
            BOOL,
            "false",
            "take certificates of members from addresses that they do not name",
        ),
        used("self-signed-cert-validity", uint(1, 1_000), "1", "years that made ones are valid"),
        row(
            "cipher-suites",
            LIST,
            "",
            "suites of TLS 1.2 that are offered, in Go's names; empty: all",
            Support::Partly(cipher_suites),
        ),
        used(
            "tls-min-version",
            Kind::OneOf(&["TLS1.2", "TLS1.3"]),
            "TLS1.2",
            "oldest version that is spoken",
        ),
        used(
            "tls-max-version",
            Kind::OneOf(&["", "TLS1.2", "TLS1.3"]),
            "",
            "newest version that is spoken; empty: 1.3",
        ),
    ],
};
