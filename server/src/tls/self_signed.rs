//! Certificates that a member makes itself, for `--auto-tls` and `--peer-auto-tls`: secret, but
//! nobody knows with whom.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use keelson_wal::disk::{Disk, RealDisk};
use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::certificate::Certificate;
use super::files::Pair;
use super::handle::Fixtures;

const CERTIFICATE_FILE: &str = "cert.pem";
const KEY_FILE: &str = "key.pem";

/// Clocks of other machines may be behind by this much.
const BACKDATED: Duration = Duration::from_secs(60 * 60);

const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// The certificate and key in the folder; made if they are not there, or have expired.
pub(super) fn ensure(
    fixtures: &Fixtures,
    years: u32,
    now: SystemTime,
) -> Result<Pair<PathBuf>, String> {
    let dir = &fixtures.dir;
    let pair = Pair { certificate: dir.join(CERTIFICATE_FILE), key: dir.join(KEY_FILE) };
    if pair.key.exists() && pair.certificate.exists() && !is_over(&pair.certificate, now) {
        return Ok(pair);
    }
    let (certificate, key) = make(&fixtures.hosts, years, now)
        .map_err(|error| format!("no certificate could be made: {error}"))?;
    write(dir, &certificate, &key)
        .map_err(|error| format!("{} cannot be written: {error}", dir.display()))?;
    tracing::info!(file = %pair.certificate.display(), years, "made a certificate");
    Ok(pair)
}

/// What cannot be read is left for the error that comes of using it.
fn is_over(path: &Path, now: SystemTime) -> bool {
    let read = fs::read(path).ok().and_then(|pem| CertificateDer::from_pem_slice(&pem).ok());
    let certificate = read.and_then(|der| Certificate::read(&der).ok());
    certificate.is_some_and(|certificate| certificate.is_over(now))
}

fn make(hosts: &[String], years: u32, now: SystemTime) -> Result<(String, String), rcgen::Error> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(hosts)?;
    params.not_before = (now - BACKDATED).into();
    params.not_after = (now + YEAR * years).into();
    params.distinguished_name.remove(DnType::CommonName);
    params.distinguished_name.push(DnType::OrganizationName, "keelson");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    Ok((params.self_signed(&key)?.pem(), key.serialize_pem()))
}

/// The certificate last: with it there, both are whole.
fn write(dir: &Path, certificate: &str, key: &str) -> io::Result<()> {
    let disk = RealDisk;
    disk.create_dir_all(dir)?;
    for (name, text) in [(KEY_FILE, key), (CERTIFICATE_FILE, certificate)] {
        let temporary = dir.join(format!("{name}.tmp"));
        let mut options = OpenOptions::new();
        let mut file =
            options.write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        disk.rename(&temporary, &dir.join(name))?;
    }
    disk.sync_dir(dir)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::time::UNIX_EPOCH;

    use super::*;

    #[test]
    fn made_once_and_again_when_it_has_expired() {
        let folder = tempfile::tempdir().unwrap();
        let hosts = vec!["127.0.0.1".to_owned(), "localhost".to_owned()];
        let fixtures = Fixtures { dir: folder.path().join("fixtures/peer"), hosts };
        let start = UNIX_EPOCH + YEAR * 50;
        let read = |pair: &Pair<PathBuf>| fs::read(&pair.certificate).unwrap();
        let pair = ensure(&fixtures, 2, start).unwrap();
        let first = read(&pair);
        let mode = fs::metadata(&pair.key).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "the key is its owner's alone");

        let der = CertificateDer::from_pem_slice(&first).unwrap();
        let certificate = Certificate::read(&der).unwrap();
        assert_eq!(certificate.dns_names, ["localhost"]);
        assert_eq!(certificate.ip_addresses, [std::net::IpAddr::from([127, 0, 0, 1])]);

        ensure(&fixtures, 2, start + YEAR).unwrap();
        assert_eq!(read(&pair), first, "it is still good");
        ensure(&fixtures, 2, start + YEAR * 3).unwrap();
        assert_ne!(read(&pair), first, "it was not good any more");
        fs::remove_file(&pair.key).unwrap();
        let second = read(&pair);
        ensure(&fixtures, 2, start + YEAR * 3).unwrap();
        assert_ne!(read(&pair), second, "a certificate without its key is worth nothing");
    }
}
