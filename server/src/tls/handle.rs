//! One side's certificates, kept up to date with their files.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::{Mutex, RwLock};
use rustls::{ClientConfig, ServerConfig};

use super::error::TlsError;
use super::files::{Contents, Files};
use super::self_signed;
use super::state::{Builder, State};
use crate::config::{TlsProtocol, TransportSecurity};

/// How often the files are looked at. They are read whole: a few kilobytes from the page cache,
/// and no change is missed that keeps a time stamp.
const LOOK_PAUSE: Duration = Duration::from_secs(1);

/// The time of day.
type Clock = Arc<dyn Fn() -> SystemTime + Send + Sync>;

/// Whose connections are secured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Those that clients make.
    Clients,
    /// Those among members.
    Peers,
}

impl Side {
    /// What its flags begin with.
    pub(super) fn prefix(self) -> &'static str {
        match self {
            Self::Clients => "",
            Self::Peers => "peer-",
        }
    }
}

/// Where a certificate is made if none is given.
#[derive(Clone, Debug)]
pub struct Fixtures {
    /// The folder.
    pub dir: PathBuf,
    /// The names and addresses that it is valid for.
    pub hosts: Vec<String>,
}

/// What does not change with the files.
#[derive(Clone, Debug)]
pub struct TlsOptions {
    pub(super) side: Side,
    pub(super) protocol: TlsProtocol,
    pub(super) allowed_cn: Vec<String>,
    pub(super) allowed_hostname: Vec<String>,
    pub(super) skip_client_san_verification: bool,
    /// The certificate is of the member's own making.
    pub(super) self_made: bool,
}

/// One side's certificates; clones share them.
#[derive(Clone)]
pub struct Tls {
    shared: Arc<Shared>,
}

struct Shared {
    options: TlsOptions,
    files: Files,
    clock: Clock,
    state: RwLock<State>,
    /// What was found at the last look, whether or not it could be used.
    seen: Mutex<Result<Contents, TlsError>>,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").field("options", &self.shared.options).finish_non_exhaustive()
    }
}

impl Tls {
    /// Reads all files; makes a certificate in `fixtures` if that is asked for and none is given.
    ///
    /// # Errors
    /// A file cannot be used; the text names the flag, the file and what to do.
    pub fn load(
        side: Side,
        given: &TransportSecurity,
        protocol: &TlsProtocol,
        fixtures: &Fixtures,
        clock: Clock,
    ) -> Result<Self, TlsError> {
        let mut given = given.clone();
        let self_made = given.auto && given.cert_file.is_none();
        if self_made {
            let made = self_signed::ensure(fixtures, protocol.self_signed_years, clock())
                .map_err(|what| TlsError::new(format!("--{}auto-tls", side.prefix()), what))?;
            given.cert_file = Some(made.certificate);
            given.key_file = Some(made.key);
        }
        let options = TlsOptions {
            side,
            protocol: protocol.clone(),
            self_made,
            allowed_cn: given.allowed_cn.clone(),
            allowed_hostname: given.allowed_hostname.clone(),
            skip_client_san_verification: given.skip_client_san_verification,
        };
        let files = Files::of(side, &given);
        let contents = files.read()?;
        let now = clock();
        let builder = Builder { options: &options, files: &files, contents: &contents, now };
        let state = RwLock::new(builder.build()?);
        let seen = Mutex::new(Ok(contents));
        Ok(Self { shared: Arc::new(Shared { options, files, clock, state, seen }) })
    }

    pub(super) fn options(&self) -> &TlsOptions {
        &self.shared.options
    }

    /// What the next connection is accepted with.
    pub(super) fn server(&self) -> Option<Arc<ServerConfig>> {
        self.shared.state.read().server.clone()
    }

    /// What the next connection is made with.
    pub(crate) fn client(&self) -> Option<Arc<ClientConfig>> {
        self.shared.state.read().client.clone()
    }

    /// Looks at the files once.
    #[cfg(test)]
    pub(super) fn look(&self) {
        self.shared.look();
    }

    /// Follows the files, for ever.
    pub async fn follow(self) {
        if self.shared.files.is_empty() {
            return;
        }
        loop {
            tokio::time::sleep(LOOK_PAUSE).await;
            let shared = Arc::clone(&self.shared);
            // A network file system may take its time, and this thread has better to do.
            if let Err(error) = tokio::task::spawn_blocking(move || shared.look()).await {
                tracing::error!(%error, "looking at the files of TLS ended in a panic");
            }
        }
    }
}

impl Shared {
    /// Takes what has changed. Files are written one after the other: what does not fit together
    /// now may do so at the next look, and until then the old state stays.
    fn look(&self) {
        let found = self.files.read();
        let mut seen = self.seen.lock();
        if *seen == found {
            return;
        }
        let built = found.as_ref().map_err(Clone::clone).and_then(|contents| {
            let (options, files, now) = (&self.options, &self.files, (self.clock)());
            Builder { options, files, contents, now }.build()
        });
        let side = self.options.side;
        match built {
            Ok(state) => {
                *self.state.write() = state;
                tracing::info!(?side, "new certificates are in use from here on");
            }
            Err(error) => {
                tracing::error!(?side, %error, "new certificates cannot be used: the old ones stay in use");
            }
        }
        *seen = found;
    }
}
