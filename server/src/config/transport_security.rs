//! How connections are secured: the files, and what is demanded of the other side.

use std::path::PathBuf;

use super::member_config::{Client, Config, Peer};
use super::mistake::Mistake;
use super::read::Settings;
use super::suites;
use super::url::{Scheme, Url};

/// How the connections of clients, or those among members, are secured. Flags of members have the
/// prefix `peer-`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TransportSecurity {
    /// `--cert-file`: the certificate of the listener, and towards other members.
    pub cert_file: Option<PathBuf>,
    /// `--key-file`: its key.
    pub key_file: Option<PathBuf>,
    /// `--peer-client-cert-file`: shown to other members in the place of `cert_file`.
    pub client_cert_file: Option<PathBuf>,
    /// `--peer-client-key-file`: its key.
    pub client_key_file: Option<PathBuf>,
    /// `--trusted-ca-file`: whose certificates are taken. To give it is to demand one, as in etcd.
    pub trusted_ca_file: Option<PathBuf>,
    /// `--client-crl-file`, `--peer-crl-file`: certificates that are not taken any more.
    pub crl_file: Option<PathBuf>,
    /// `--client-cert-auth`: who connects must show a certificate. Default false.
    pub client_cert_auth: bool,
    /// `--auto-tls`: a certificate is made at the first start, and nobody's is checked. Default
    /// false, and without effect if there is a `cert_file`.
    pub auto: bool,
    /// `--peer-cert-allowed-cn`: one of these is the common name. Default any.
    pub allowed_cn: Vec<String>,
    /// `--client-cert-allowed-hostname`, `--peer-cert-allowed-hostname`: the certificate is valid
    /// for one of these. Default any.
    pub allowed_hostname: Vec<String>,
    /// `--peer-skip-client-san-verification`: take a certificate from any address, also if it names
    /// others. Default false. Clients may come from anywhere in any case.
    pub skip_client_san_verification: bool,
}

/// A version of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    /// 1.2.
    Tls12,
    /// 1.3.
    Tls13,
}

/// What is spoken on every secured connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsProtocol {
    /// `--tls-min-version`. Default 1.2.
    pub min_version: TlsVersion,
    /// `--tls-max-version`, not before `min_version`. Default the newest.
    pub max_version: TlsVersion,
    /// `--cipher-suites`: Go's names of suites of TLS 1.2, those of `OFFERED_CIPHER_SUITES`. Default all.
    pub cipher_suites: Vec<&'static str>,
    /// `--self-signed-cert-validity`: years that a certificate of `auto` is valid, 1 to 1000.
    /// Default 1.
    pub self_signed_years: u32,
}

impl Settings {
    pub(super) fn client_security(&self) -> TransportSecurity {
        TransportSecurity {
            cert_file: self.path("cert-file"),
            key_file: self.path("key-file"),
            // Of a gateway that connects to its own member, which there is not.
            client_cert_file: None,
            client_key_file: None,
            trusted_ca_file: self.path("trusted-ca-file"),
            crl_file: self.path("client-crl-file"),
            client_cert_auth: self.bool("client-cert-auth"),
            auto: self.bool("auto-tls"),
            allowed_cn: Vec::new(),
            allowed_hostname: self.list("client-cert-allowed-hostname"),
            skip_client_san_verification: true,
        }
    }

    pub(super) fn peer_security(&self) -> TransportSecurity {
        TransportSecurity {
            cert_file: self.path("peer-cert-file"),
            key_file: self.path("peer-key-file"),
            client_cert_file: self.path("peer-client-cert-file"),
            client_key_file: self.path("peer-client-key-file"),
            trusted_ca_file: self.path("peer-trusted-ca-file"),
            crl_file: self.path("peer-crl-file"),
            client_cert_auth: self.bool("peer-client-cert-auth"),
            auto: self.bool("peer-auto-tls"),
            allowed_cn: self.list("peer-cert-allowed-cn"),
            allowed_hostname: self.list("peer-cert-allowed-hostname"),
            skip_client_san_verification: self.bool("peer-skip-client-san-verification"),
        }
    }

    pub(super) fn tls_protocol(&self) -> TlsProtocol {
        let version = |name: &str| match self.text(name).as_str() {
            "TLS1.2" => Some(TlsVersion::Tls12),
            "TLS1.3" => Some(TlsVersion::Tls13),
            _ => None,
        };
        let names = self.list("cipher-suites");
        TlsProtocol {
            min_version: version("tls-min-version").unwrap_or(TlsVersion::Tls12),
            max_version: version("tls-max-version").unwrap_or(TlsVersion::Tls13),
            cipher_suites: names.iter().filter_map(|name| suites::offered(name)).collect(),
            self_signed_years: self.uint("self-signed-cert-validity"),
        }
    }

    fn path(&self, name: &str) -> Option<PathBuf> {
        Some(self.text(name)).filter(|path| !path.is_empty()).map(PathBuf::from)
    }
}

/// What is wrong between the settings of TLS, and between them and the URLs.
pub(super) fn validate(config: &Config, found: &mut Vec<Mistake>) {
    let Client { tls, listen_urls, .. } = &config.client;
    side(tls, "", found);
    certificate_to_listen(tls, "", "--listen-client-urls", listen_urls, found);
    let metrics = &config.metrics.listen_urls;
    certificate_to_listen(tls, "", "--listen-metrics-urls", metrics, found);
    let Peer { tls, listen_urls, .. } = &config.peer;
    side(tls, "peer-", found);
    certificate_to_listen(tls, "peer-", "--listen-peer-urls", listen_urls, found);
    authorities_to_connect(config, found);
    if config.tls.max_version < config.tls.min_version {
        found.push(Mistake::new("--tls-max-version", "must not be older than --tls-min-version"));
    }
    if config.tls.min_version == TlsVersion::Tls13 && !config.tls.cipher_suites.is_empty() {
        let text = "has no meaning for TLS 1.3, which --tls-min-version demands: leave it out";
        found.push(Mistake::new("--cipher-suites", text));
    }
}

fn side(tls: &TransportSecurity, prefix: &str, found: &mut Vec<Mistake>) {
    for (name, file, other, other_file) in [
        ("cert-file", &tls.cert_file, "key-file", &tls.key_file),
        ("client-cert-file", &tls.client_cert_file, "client-key-file", &tls.client_key_file),
    ] {
        let (given, missing) = match (file, other_file) {
            (Some(_), None) => (name, other),
            (None, Some(_)) => (other, name),
            (Some(_), Some(_)) | (None, None) => continue,
        };
        let text = format!("needs --{prefix}{missing} too");
        found.push(Mistake::new(format!("--{prefix}{given}"), text));
    }
    if !tls.allowed_cn.is_empty() && !tls.allowed_hostname.is_empty() {
        let text = format!("excludes --{prefix}cert-allowed-hostname: give one of them");
        found.push(Mistake::new(format!("--{prefix}cert-allowed-cn"), text));
    }
    if tls.trusted_ca_file.is_some() {
        return;
    }
    let of_clients = if prefix.is_empty() { "client-" } else { prefix };
    for (name, given) in [
        (format!("{prefix}client-cert-auth"), tls.client_cert_auth),
        (format!("{of_clients}crl-file"), tls.crl_file.is_some()),
        (format!("{of_clients}cert-allowed-cn"), !tls.allowed_cn.is_empty()),
        (format!("{of_clients}cert-allowed-hostname"), !tls.allowed_hostname.is_empty()),
    ] {
        if given {
            let text = format!("needs --{prefix}trusted-ca-file, or no certificate is checked");
            found.push(Mistake::new(format!("--{name}"), text));
        }
    }
}

fn certificate_to_listen(
    tls: &TransportSecurity,
    prefix: &str,
    setting: &str,
    urls: &[Url],
    found: &mut Vec<Mistake>,
) {
    let secured = urls.iter().find(|url| url.scheme == Scheme::Https);
    if let Some(url) = secured
        && tls.cert_file.is_none()
        && !tls.auto
    {
        let text = format!(
            "{url} needs --{prefix}cert-file and --{prefix}key-file, or --{prefix}auto-tls"
        );
        found.push(Mistake::new(setting, text));
    }
}

/// A member that cannot check the others' certificates would never reach them.
fn authorities_to_connect(config: &Config, found: &mut Vec<Mistake>) {
    let tls = &config.peer.tls;
    if tls.trusted_ca_file.is_some() || (tls.auto && tls.cert_file.is_none()) {
        return;
    }
    let others = config.member.initial_cluster.iter().filter(|m| m.name != config.member.name);
    let mut urls = others.flat_map(|member| &member.peer_urls);
    if let Some(url) = urls.find(|url| url.scheme == Scheme::Https) {
        let text = format!(
            "{url} needs --peer-trusted-ca-file, the authorities that other members' certificates \
             are checked against, or --peer-auto-tls"
        );
        found.push(Mistake::new("--initial-cluster", text));
    }
}
