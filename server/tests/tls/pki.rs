//! Authorities and what they sign, made for each test.

use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams,
    SerialNumber, date_time_ymd,
};
use tempfile::TempDir;

/// An authority.
pub(super) struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, in PEM.
#[derive(Clone, Debug)]
pub(super) struct Identity {
    pub(super) certificate: String,
    pub(super) key: String,
}

/// What is not the same in all certificates.
#[derive(Clone, Debug)]
pub(super) struct Wanted<'a> {
    pub(super) name: &'a str,
    pub(super) hosts: &'a [&'a str],
    pub(super) serial: u64,
    pub(super) last_year: i32,
}

impl Default for Wanted<'_> {
    fn default() -> Self {
        Self { name: "member", hosts: &["127.0.0.1", "localhost"], serial: 1, last_year: 2100 }
    }
}

impl Authority {
    pub(super) fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name.push(DnType::CommonName, name);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub(super) fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate for both ends of a connection.
    pub(super) fn issue(&self, wanted: &Wanted<'_>) -> Identity {
        let hosts: Vec<_> = wanted.hosts.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(hosts).unwrap();
        params.distinguished_name.push(DnType::CommonName, wanted.name);
        params.serial_number = Some(SerialNumber::from(wanted.serial));
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(wanted.last_year, 12, 31);
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap().pem();
        Identity { certificate, key: key.serialize_pem() }
    }

    /// Takes certificates back.
    pub(super) fn revoke(&self, serials: &[u64]) -> String {
        let revoked = |serial: &u64| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: date_time_ymd(2024, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2024, 1, 1),
            next_update: date_time_ymd(2100, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: serials.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&self.0).unwrap().pem().unwrap()
    }
}

/// Files of one member or client.
#[derive(Debug)]
pub(super) struct Files {
    folder: TempDir,
}

impl Files {
    pub(super) fn new(ca: &str, identity: &Identity) -> Self {
        let files = Self { folder: tempfile::tempdir().unwrap() };
        files.put("ca.pem", ca);
        files.put_identity(identity);
        files
    }

    /// In place, as careless tools do: whoever reads meanwhile reads half.
    pub(super) fn put(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    pub(super) fn put_identity(&self, identity: &Identity) {
        self.put("key.pem", &identity.key);
        self.put("cert.pem", &identity.certificate);
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The flags of one side; `prefix` is `peer-` or empty.
    pub(super) fn flags(&self, prefix: &str) -> Vec<String> {
        let flag = |name: &str, file: &str| format!("--{prefix}{name}={}", show(&self.path(file)));
        vec![
            flag("cert-file", "cert.pem"),
            flag("key-file", "key.pem"),
            flag("trusted-ca-file", "ca.pem"),
            format!("--{prefix}client-cert-auth"),
        ]
    }

    /// Those of etcdctl.
    pub(super) fn ctl_flags(&self) -> Vec<String> {
        let flag = |name: &str, file: &str| format!("--{name}={}", show(&self.path(file)));
        vec![flag("cacert", "ca.pem"), flag("cert", "cert.pem"), flag("key", "key.pem")]
    }
}

pub(super) fn show(path: &Path) -> String {
    path.display().to_string()
}
