//! What is said of files that cannot be used, and what becomes of those that change.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType,
    IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SerialNumber, date_time_ymd,
};
use rustls::pki_types::{CertificateDer, ServerName};

use super::files::Files;
use super::revoked::Revoked;
use super::rules::Rules;
use super::*;
use crate::config::{Config, TransportSecurity};

fn authority(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.distinguished_name.push(DnType::CommonName, name);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn member(
    by: &CertifiedIssuer<'_, KeyPair>,
    name: &str,
    serial: u64,
) -> (rcgen::Certificate, KeyPair) {
    let mut params = CertificateParams::new([name.to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.serial_number = Some(SerialNumber::from(serial));
    let key = KeyPair::generate().unwrap();
    (params.signed_by(&key, by).unwrap(), key)
}

fn list(by: &CertifiedIssuer<'_, KeyPair>, serials: &[u64]) -> rcgen::CertificateRevocationList {
    let revoked = |serial: &u64| RevokedCertParams {
        serial_number: SerialNumber::from(*serial),
        revocation_time: date_time_ymd(2024, 1, 1),
        reason_code: None,
        invalidity_date: None,
    };
    let params = CertificateRevocationListParams {
        this_update: date_time_ymd(2024, 1, 1),
        next_update: date_time_ymd(2044, 1, 1),
        crl_number: SerialNumber::from(1),
        issuing_distribution_point: None,
        revoked_certs: serials.iter().map(revoked).collect(),
        key_identifier_method: KeyIdMethod::Sha256,
    };
    params.signed_by(by).unwrap()
}

struct Folder {
    folder: tempfile::TempDir,
    given: TransportSecurity,
}

impl Folder {
    /// A member's files, all good.
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| Some(folder.path().join(name));
        let given = TransportSecurity {
            cert_file: path("cert"),
            key_file: path("key"),
            trusted_ca_file: path("ca"),
            ..TransportSecurity::default()
        };
        let this = Self { folder, given };
        let authority = authority("a");
        let (certificate, key) = member(&authority, "m", 1);
        this.put("ca", authority.pem());
        this.put("cert", certificate.pem());
        this.put("key", key.serialize_pem());
        this
    }

    fn put(&self, name: &str, text: impl AsRef<[u8]>) {
        std::fs::write(self.folder.path().join(name), text).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn load(&self) -> Result<Tls, TlsError> {
        let protocol = Config::default().tls;
        let clock = Arc::new(|| UNIX_EPOCH + Duration::from_secs(1_800_000_000));
        let nowhere = Fixtures { dir: self.path("fixtures"), hosts: Vec::new() };
        Tls::load(Side::Peers, &self.given, &protocol, &nowhere, clock)
    }

    /// What is wrong, without the place of the folder.
    fn wrong(&self) -> String {
        let error = self.load().map(drop).unwrap_err().to_string();
        error.replace(&format!("{}/", self.folder.path().display()), "")
    }
}

#[test]
fn a_file_that_cannot_be_used_is_named_with_what_to_do() {
    let other = KeyPair::generate().unwrap().serialize_pem();
    let good = Folder::new();
    good.load().unwrap();
    let key = std::fs::read_to_string(good.path("key")).unwrap();
    let encrypted = key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
    for (name, text, expected) in [
        (
            "cert",
            Some(""),
            "--peer-cert-file cert: there is no certificate in PEM (\"BEGIN CERTIFICATE\") in it",
        ),
        (
            "cert",
            Some("garbage\n"),
            "--peer-cert-file cert: there is no certificate in PEM (\"BEGIN CERTIFICATE\") in it",
        ),
        (
            "cert",
            Some("-----BEGIN CERTIFICATE-----\n%%\n-----END CERTIFICATE-----\n"),
            "--peer-cert-file cert: is damaged: ",
        ),
        (
            "cert",
            Some("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
            "--peer-cert-file cert: a certificate cannot be read: ",
        ),
        ("cert", None, "--peer-cert-file cert: cannot be read: No such file or directory"),
        (
            "key",
            Some(""),
            "--peer-key-file key: there is no private key in PEM (\"BEGIN ... PRIVATE KEY\") in it",
        ),
        ("key", Some(&encrypted), "--peer-key-file key: the key is encrypted: "),
        (
            "key",
            Some(&other),
            "--peer-key-file key: does not belong to the certificate of --peer-cert-file cert: give the key it was made with",
        ),
        (
            "key",
            Some("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"),
            "--peer-key-file key: cannot be used: ",
        ),
        ("ca", Some(&key), "--peer-trusted-ca-file ca: there is no certificate in PEM"),
        ("ca", None, "--peer-trusted-ca-file ca: cannot be read: "),
    ] {
        let folder = Folder::new();
        match text {
            Some(text) => folder.put(name, text),
            None => std::fs::remove_file(folder.path(name)).unwrap(),
        }
        let wrong = folder.wrong();
        assert!(wrong.starts_with(expected), "{wrong:?} is not {expected:?}");
    }
}

#[test]
fn rubbish_and_pieces_of_files_never_panic() {
    let folder = Folder::new();
    for name in ["cert", "key", "ca"] {
        let good = std::fs::read(folder.path(name)).unwrap();
        for end in (0..good.len() - 1).step_by(7) {
            folder.put(name, &good[..end]);
            assert!(folder.load().is_err(), "{end} bytes of {name}");
        }
        for at in (30..good.len()).step_by(11) {
            let mut bad = good.clone();
            bad[at] ^= 0x15;
            folder.put(name, bad);
            // Some of a certificate's bytes are anything; that it comes back is enough.
            folder.load().ok();
        }
        folder.put(name, good);
    }
    folder.load().unwrap();
}

#[test]
fn new_files_are_taken_and_bad_ones_are_not() {
    let folder = Folder::new();
    let tls = folder.load().unwrap();
    let state = || (tls.server().unwrap(), tls.client().unwrap());
    let same = |old: &(Arc<_>, Arc<_>)| {
        let new = state();
        Arc::ptr_eq(&old.0, &new.0) && Arc::ptr_eq(&old.1, &new.1)
    };
    let first = state();
    tls.look();
    assert!(same(&first), "nothing has changed");

    let key = std::fs::read(folder.path("key")).unwrap();
    folder.put("key", "rubbish");
    tls.look();
    assert!(same(&first), "the bad key is not taken");
    folder.put("key", key);
    tls.look();
    let second = state();
    assert!(!same(&first), "the good one is");

    let by = authority("b");
    let (certificate, key) = member(&by, "m", 2);
    folder.put("cert", certificate.pem());
    tls.look();
    assert!(same(&second), "the certificate is there before its key");
    folder.put("key", key.serialize_pem());
    tls.look();
    assert!(!same(&second));
    let third = state();
    folder.put("ca", by.pem());
    tls.look();
    assert!(!same(&third), "authorities are read again too");
}

fn revoked(file: &Path, authorities: &[&CertificateDer<'static>]) -> Result<Revoked, TlsError> {
    let given = TransportSecurity { crl_file: Some(file.to_owned()), ..Default::default() };
    let files = Files::of(Side::Peers, &given);
    let contents = files.read().unwrap();
    let authorities: Vec<_> = authorities.iter().map(|der| (*der).clone()).collect();
    let (file, bytes) = (files.revoked.unwrap(), contents.revoked.unwrap());
    Revoked::read(&file, &bytes, &authorities, SystemTime::UNIX_EPOCH)
}

fn check(rules: &Rules, certificate: &rcgen::Certificate) -> Result<(), String> {
    rules.check(certificate.der(), &[]).map_err(|error| {
        let error = std::io::Error::other(error);
        why(&error, Other::Client)
    })
}

fn rules(revoked: Revoked) -> Rules {
    Rules { allowed_cn: Vec::new(), allowed_hostname: Vec::new(), revoked }
}

#[test]
fn a_list_counts_for_its_own_authority() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("crl");
    let (a, b) = (authority("a"), authority("b"));
    let both = [list(&a, &[1, 200]).pem().unwrap(), list(&b, &[3]).pem().unwrap()].concat();
    std::fs::write(&path, both).unwrap();
    let rules = rules(revoked(&path, &[a.der(), b.der()]).unwrap());
    for (by, serial, expected) in [
        (&a, 1, Err("its certificate is revoked".to_owned())),
        (&a, 2, Ok(())),
        (&a, 3, Ok(())),
        (&a, 200, Err("its certificate is revoked".to_owned())),
        (&b, 1, Ok(())),
        (&b, 3, Err("its certificate is revoked".to_owned())),
    ] {
        assert_eq!(check(&rules, &member(by, "m", serial).0), expected, "{serial}");
    }
    let (through, _) = member(&b, "m", 7);
    let between = member(&a, "between", 1).0;
    assert!(rules.check(through.der(), &[between.der().clone()]).is_err(), "who vouches counts");

    std::fs::write(&path, list(&a, &[1]).der()).unwrap();
    assert!(
        revoked(&path, &[a.der()])
            .unwrap()
            .contains(&certificate::Certificate::read(member(&a, "m", 1).0.der()).unwrap())
    );
}

#[test]
fn a_list_that_is_left_over_harms_nobody_and_rubbish_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("crl");
    let (a, namesake, other) = (authority("a"), authority("a"), authority("b"));
    std::fs::write(&path, list(&namesake, &[1]).pem().unwrap()).unwrap();
    // An authority that is renewed keeps its name: both are there for a while, then one.
    for trusted in [&[a.der(), namesake.der()][..], &[a.der()], &[other.der()]] {
        let rules = rules(revoked(&path, trusted).unwrap());
        check(&rules, &member(&namesake, "m", 1).0).unwrap_err();
        check(&rules, &member(&a, "m", 2).0).unwrap();
    }
    for rubbish in
        ["", "rubbish", "0\u{1}rubbish", "-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n"]
    {
        std::fs::write(&path, rubbish).unwrap();
        assert!(revoked(&path, &[a.der()]).is_err(), "{rubbish:?}");
    }
}

#[test]
fn names_are_allowed_or_not() {
    let a = authority("a");
    let (certificate, _) = member(&a, "m1.example", 1);
    let cn = |names: &[&str]| Rules {
        allowed_cn: names.iter().map(ToString::to_string).collect(),
        ..rules(Revoked::default())
    };
    check(&cn(&[]), &certificate).unwrap();
    check(&cn(&["x", "m1.example"]), &certificate).unwrap();
    let wrong = check(&cn(&["x", "m1"]), &certificate).unwrap_err();
    assert_eq!(wrong, "its common name \"m1.example\" is not allowed");
    let host = |names: &[&'static str]| Rules {
        allowed_hostname: names.iter().map(|n| ServerName::try_from(*n).unwrap()).collect(),
        ..rules(Revoked::default())
    };
    check(&host(&["x.example", "m1.example"]), &certificate).unwrap();
    let wrong = check(&host(&["x.example", "10.0.0.1"]), &certificate).unwrap_err();
    assert_eq!(wrong, "its certificate is valid for none of the allowed host names");
}
