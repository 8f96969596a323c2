//! Which version this is, and which version of etcd it stands in for.

/// The etcd release whose behaviour is offered; clients and tools decide by it.
pub const ETCD_VERSION: &str = "3.7.1";

/// The version of Keelson itself.
pub const KEELSON_VERSION: &str = env!("CARGO_PKG_VERSION");

/// The commit that was built, if the build said so in `KEELSON_GIT_SHA`.
pub fn git_sha() -> &'static str {
    option_env!("KEELSON_GIT_SHA").unwrap_or("unknown")
}

/// Operating system and processor in the words of Go, which etcd prints: `linux/amd64`.
pub fn os_arch() -> String {
    let arch = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    format!("{}/{arch}", std::env::consts::OS)
}

/// What `--version` prints: four lines of the shape that etcd's have.
pub fn version() -> String {
    format!(
        "etcd Version: {ETCD_VERSION}\nGit SHA: {}\nKeelson Version: {KEELSON_VERSION}\nOS/Arch: {}\n",
        git_sha(),
        os_arch()
    )
}
