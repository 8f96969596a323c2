//! Whether a member comes from where its certificate says that it lives.
//!
//! etcd's rule: a certificate that names addresses or hosts is good from these alone. Host names
//! are looked up, in both directions as etcd does, for a name that stands for many hosts
//! (`*.example.org`) has addresses in one direction only.

use std::net::IpAddr;

use rustls::pki_types::CertificateDer;

use super::certificate::Certificate;

/// Checks it; the error says what does not fit.
pub(super) async fn check(certificate: &CertificateDer<'_>, from: IpAddr) -> Result<(), String> {
    let certificate = Certificate::read(certificate)?;
    let from = from.to_canonical();
    match decide(&certificate, from) {
        Some(true) => Ok(()),
        Some(false) => Err(wrong(&certificate)),
        None => {
            let names = certificate.dns_names.clone();
            let found = tokio::task::spawn_blocking(move || is_host_of(&names, from)).await;
            if found.unwrap_or(false) { Ok(()) } else { Err(wrong(&certificate)) }
        }
    }
}

/// None where names have to be looked up.
fn decide(certificate: &Certificate, from: IpAddr) -> Option<bool> {
    let (addresses, names) = (&certificate.ip_addresses, &certificate.dns_names);
    if addresses.contains(&from) || (addresses.is_empty() && names.is_empty()) {
        return Some(true);
    }
    if names.is_empty() { Some(false) } else { None }
}

fn wrong(certificate: &Certificate) -> String {
    format!(
        "its certificate is for {:?} {:?}, which is not where it connects from \
         (--peer-skip-client-san-verification takes it from anywhere)",
        certificate.ip_addresses, certificate.dns_names
    )
}

fn is_host_of(names: &[String], from: IpAddr) -> bool {
    let reverse = dns_lookup::lookup_addr(&from).ok();
    if reverse.is_some_and(|host| names.iter().any(|name| fits(name, &host))) {
        return true;
    }
    let mut whole = names.iter().filter(|name| !name.starts_with("*."));
    whole.any(|name| {
        dns_lookup::lookup_host(name).is_ok_and(|mut found| found.any(|address| address == from))
    })
}

fn fits(name: &str, host: &str) -> bool {
    let (name, host) = (name.to_ascii_lowercase(), host.to_ascii_lowercase());
    let host = host.strip_suffix('.').unwrap_or(&host);
    match name.strip_prefix('*') {
        Some(domain) => domain.starts_with('.') && host.ends_with(domain),
        None => name == host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate(names: &[&str], addresses: &[&str]) -> Certificate {
        Certificate {
            subject: String::new(),
            issuer: String::new(),
            serial: Vec::new(),
            common_name: String::new(),
            dns_names: names.iter().map(ToString::to_string).collect(),
            ip_addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
            not_after: x509_parser::time::ASN1Time::from_timestamp(0).unwrap(),
        }
    }

    #[test]
    fn addresses_decide_and_names_are_looked_up() {
        let from = "10.1.2.3".parse().unwrap();
        for (names, addresses, expected) in [
            (&[][..], &[][..], Some(true)),
            (&[], &["10.1.2.3"], Some(true)),
            (&["a.example"], &["10.1.2.3"], Some(true)),
            (&[], &["10.1.2.4", "::1"], Some(false)),
            (&["a.example"], &["10.1.2.4"], None),
            (&["a.example"], &[], None),
        ] {
            assert_eq!(decide(&certificate(names, addresses), from), expected, "{names:?}");
        }
    }

    #[test]
    fn a_name_fits_itself_and_a_wildcard_its_hosts() {
        for (name, host, expected) in [
            ("a.example", "A.example.", true),
            ("a.example", "b.example", false),
            ("*.example", "a.example", true),
            ("*.example", "example", false),
            ("*example", "a.example", false),
            ("*.example", "a.other", false),
        ] {
            assert_eq!(fits(name, host), expected, "{name} {host}");
        }
    }

    #[tokio::test(flavor = "current_thread")]
    async fn this_machine_is_found_by_its_name() {
        let key = rcgen::KeyPair::generate().unwrap();
        let named = |name: &str| {
            let params = rcgen::CertificateParams::new([name.to_owned()]).unwrap();
            params.self_signed(&key).unwrap()
        };
        let here = IpAddr::from([127, 0, 0, 1]);
        check(named("localhost").der(), here).await.unwrap();
        let elsewhere = check(named("elsewhere.invalid").der(), here).await.unwrap_err();
        assert!(elsewhere.contains("elsewhere.invalid"), "{elsewhere}");
    }
}
