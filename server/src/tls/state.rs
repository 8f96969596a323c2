//! From the contents of the files to configurations to listen and to connect with.

use std::sync::Arc;
use std::time::SystemTime;

use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{ClientConfig, Error, RootCertStore, ServerConfig, SupportedProtocolVersion};

use super::certificate::Certificate;
use super::error::TlsError;
use super::files::{Contents, Files, Named, Pair};
use super::handle::{Side, TlsOptions};
use super::pem;
use super::revoked::Revoked;
use super::rules::Rules;
use super::verifier::{OfAnybody, OfClients, OfServers};
use crate::config::{TlsProtocol, TlsVersion};

/// What the handshake may settle on, in the order in which it is wanted.
const ALPN: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// The configurations that new connections take.
#[derive(Clone, Debug, Default)]
pub(super) struct State {
    /// None without a certificate.
    pub(super) server: Option<Arc<ServerConfig>>,
    /// None on the side of clients, and without authorities.
    pub(super) client: Option<Arc<ClientConfig>>,
}

type OwnCertificate = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// The trusted authorities, and the rules for those that they vouch for.
struct Trust<'a> {
    file: &'a Named,
    roots: Arc<RootCertStore>,
    rules: Arc<Rules>,
}

/// What a state is made of.
pub(super) struct Builder<'a> {
    pub(super) options: &'a TlsOptions,
    pub(super) files: &'a Files,
    pub(super) contents: &'a Contents,
    pub(super) now: SystemTime,
}

impl Builder<'_> {
    /// The state, or the first thing that is wrong.
    pub(super) fn build(&self) -> Result<State, TlsError> {
        let provider = Arc::new(provider(&self.options.protocol));
        let trust = self.trust()?;
        let own = self.pair(self.files.own.as_ref(), self.contents.own.as_ref())?;
        let server = match &own {
            None => None,
            Some(own) => Some(Arc::new(self.server(&provider, own, trust.as_ref())?)),
        };
        let client = match self.options.side {
            Side::Clients => None,
            Side::Peers => self.client(&provider, own, trust.as_ref())?.map(Arc::new),
        };
        Ok(State { server, client })
    }

    fn server(
        &self,
        provider: &Arc<CryptoProvider>,
        (chain, key): &OwnCertificate,
        trust: Option<&Trust<'_>>,
    ) -> Result<ServerConfig, TlsError> {
        let builder = ServerConfig::builder_with_provider(Arc::clone(provider))
            .with_protocol_versions(&versions(&self.options.protocol))
            .map_err(|error| self.protocol_wrong(&error))?;
        let builder = match trust {
            None => builder.with_no_client_auth(),
            Some(trust) => builder.with_client_cert_verifier(Arc::new(trust.of_clients(provider)?)),
        };
        let mut config = builder
            .with_single_cert(chain.clone(), key.clone_key())
            .map_err(|error| key_wrong(self.files.own.as_ref(), &error))?;
        config.alpn_protocols = ALPN.map(<[u8]>::to_vec).to_vec();
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(config)
    }

    /// None where there is nothing that others could be checked against.
    fn client(
        &self,
        provider: &Arc<CryptoProvider>,
        own: Option<OwnCertificate>,
        trust: Option<&Trust<'_>>,
    ) -> Result<Option<ClientConfig>, TlsError> {
        let builder = ClientConfig::builder_with_provider(Arc::clone(provider))
            .with_protocol_versions(&versions(&self.options.protocol))
            .map_err(|error| self.protocol_wrong(&error))?
            .dangerous();
        let builder = match trust {
            Some(trust) => {
                builder.with_custom_certificate_verifier(Arc::new(trust.of_servers(provider)?))
            }
            None if self.options.self_made => {
                builder.with_custom_certificate_verifier(Arc::new(OfAnybody(Arc::clone(provider))))
            }
            None => return Ok(None),
        };
        let other = &self.files.towards_others;
        let shown = match self.pair(other.as_ref(), self.contents.towards_others.as_ref())? {
            Some(pair) => Some((pair, other.as_ref())),
            None => own.map(|own| (own, self.files.own.as_ref())),
        };
        let mut config = match shown {
            None => builder.with_no_client_auth(),
            Some(((chain, key), files)) => builder
                .with_client_auth_cert(chain, key)
                .map_err(|error| key_wrong(files, &error))?,
        };
        config.alpn_protocols = vec![ALPN[0].to_vec()];
        config.resumption = Resumption::disabled();
        Ok(Some(config))
    }

    fn protocol_wrong(&self, error: &Error) -> TlsError {
        TlsError::new("--tls-min-version, --tls-max-version, --cipher-suites", error.to_string())
    }

    fn pair(
        &self,
        files: Option<&Pair<Named>>,
        contents: Option<&Pair<Vec<u8>>>,
    ) -> Result<Option<OwnCertificate>, TlsError> {
        let (Some(files), Some(contents)) = (files, contents) else { return Ok(None) };
        let chain = pem::certificates(&files.certificate, &contents.certificate)?;
        if let Some(first) = chain.first() {
            self.look_at(&files.certificate, first)?;
        }
        Ok(Some((chain, pem::key(&files.key, &contents.key)?)))
    }

    fn trust(&self) -> Result<Option<Trust<'_>>, TlsError> {
        let (Some(file), Some(bytes)) = (&self.files.authorities, &self.contents.authorities)
        else {
            return Ok(None);
        };
        let authorities = pem::certificates(file, bytes)?;
        let mut roots = RootCertStore::empty();
        for authority in &authorities {
            self.look_at(file, authority)?;
            roots
                .add(authority.clone())
                .map_err(|error| file.wrong(format!("a certificate cannot be used: {error}")))?;
        }
        let revoked = match (&self.files.revoked, &self.contents.revoked) {
            (Some(file), Some(bytes)) => Revoked::read(file, bytes, &authorities, self.now)?,
            _ => Revoked::default(),
        };
        let rules = Rules {
            allowed_cn: self.options.allowed_cn.clone(),
            allowed_hostname: host_names(&self.options.allowed_hostname)?,
            revoked,
        };
        Ok(Some(Trust { file, roots: Arc::new(roots), rules: Arc::new(rules) }))
    }

    /// Names what will not be taken by others, or can vouch for nobody, as it is too old.
    fn look_at(&self, file: &Named, der: &CertificateDer<'_>) -> Result<(), TlsError> {
        let certificate = Certificate::read(der)
            .map_err(|error| file.wrong(format!("a certificate cannot be read: {error}")))?;
        let (subject, not_after) = (&certificate.subject, certificate.not_after);
        if certificate.is_over(self.now) {
            tracing::warn!(%file, subject, expired = %not_after, "a certificate has expired: replace it");
        } else {
            tracing::info!(%file, subject, valid_until = %not_after, "read a certificate");
        }
        Ok(())
    }
}

impl Trust<'_> {
    fn of_clients(&self, provider: &Arc<CryptoProvider>) -> Result<OfClients, TlsError> {
        let roots = Arc::clone(&self.roots);
        let chain = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(provider))
            .build()
            .map_err(|error| self.file.wrong(error.to_string()))?;
        Ok(OfClients { chain, rules: Arc::clone(&self.rules) })
    }

    fn of_servers(&self, provider: &Arc<CryptoProvider>) -> Result<OfServers, TlsError> {
        let roots = Arc::clone(&self.roots);
        let chain = WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(provider))
            .build()
            .map_err(|error| self.file.wrong(error.to_string()))?;
        Ok(OfServers { chain, rules: Arc::clone(&self.rules) })
    }
}

fn key_wrong(files: Option<&Pair<Named>>, error: &Error) -> TlsError {
    let Some(files) = files else { return TlsError::new("certificate", error.to_string()) };
    if matches!(error, Error::InconsistentKeys(_)) {
        let certificate = &files.certificate;
        return files.key.wrong(format!(
            "does not belong to the certificate of {certificate}: give the key it was made with"
        ));
    }
    files.key.wrong(format!(
        "cannot be used: {error}; keys are RSA of at least 2048 bits, ECDSA on P-256 or P-384, or \
         Ed25519"
    ))
}

fn host_names(names: &[String]) -> Result<Vec<ServerName<'static>>, TlsError> {
    let one = |name: &String| {
        ServerName::try_from(name.clone()).map_err(|_| {
            TlsError::new("allowed host names", format!("{name:?} is no host name or IP address"))
        })
    };
    names.iter().map(one).collect()
}

fn versions(protocol: &TlsProtocol) -> Vec<&'static SupportedProtocolVersion> {
    [(TlsVersion::Tls13, &rustls::version::TLS13), (TlsVersion::Tls12, &rustls::version::TLS12)]
        .into_iter()
        .filter(|(version, _)| (protocol.min_version..=protocol.max_version).contains(version))
        .map(|(_, known)| known)
        .collect()
}

/// Suites of TLS 1.3 are all offered, whatever is named, as Go does.
fn provider(protocol: &TlsProtocol) -> CryptoProvider {
    let mut provider = ring::default_provider();
    provider.cipher_suites.retain(|suite| {
        let named = |name: &&'static str| suite.suite().as_str() == Some(*name);
        protocol.cipher_suites.is_empty()
            || suite.version().version == rustls::ProtocolVersion::TLSv1_3
            || protocol.cipher_suites.iter().any(named)
    });
    provider
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, OFFERED_CIPHER_SUITES};

    #[test]
    fn every_suite_that_is_named_exists_and_is_offered_alone() {
        let all = Config::default().tls;
        assert_eq!(provider(&all).cipher_suites, ring::ALL_CIPHER_SUITES);
        for name in OFFERED_CIPHER_SUITES {
            let protocol = TlsProtocol { cipher_suites: vec![name], ..all.clone() };
            let suites = provider(&protocol).cipher_suites;
            assert_eq!(suites.len(), 4, "{name} and the three of TLS 1.3: {suites:?}");
        }
        assert_eq!(OFFERED_CIPHER_SUITES.len() + 3, ring::ALL_CIPHER_SUITES.len());
    }

    #[test]
    fn versions_are_those_from_the_oldest_to_the_newest() {
        let both = Config::default().tls;
        assert_eq!(versions(&both).len(), 2);
        let new = TlsProtocol { min_version: TlsVersion::Tls13, ..both.clone() };
        assert_eq!(versions(&new), [&rustls::version::TLS13]);
        let old = TlsProtocol { max_version: TlsVersion::Tls12, ..both };
        assert_eq!(versions(&old), [&rustls::version::TLS12]);
    }
}
