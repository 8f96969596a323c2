//! Names of TLS cipher suites, as Go and so etcd's `--cipher-suites` write them.

/// Suites of TLS 1.2 that are spoken here.
pub const OFFERED: [&str; 6] = [
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
];

/// Suites of TLS 1.3, which are offered whatever is named, as Go does.
const ALWAYS: [&str; 3] =
    ["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"];

/// Suites that Go has and that do not exist here: without forward secrecy, or in CBC mode, or of
/// a broken cipher.
const WEAK: [&str; 13] = [
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_RC4_128_SHA",
    "TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_RC4_128_SHA",
    "TLS_RSA_WITH_AES_128_CBC_SHA",
    "TLS_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_RSA_WITH_AES_256_CBC_SHA",
    "TLS_RSA_WITH_AES_256_GCM_SHA384",
];

/// Go's name of a suite that is offered; two have an older name too.
pub(super) fn offered(name: &str) -> Option<&'static str> {
    let name = match name {
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305" => "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
        "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305" => "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
        name => name,
    };
    OFFERED.into_iter().find(|known| *known == name)
}

/// What is wrong with a list of names; `None` if all can be offered.
pub(super) fn refused(names: &[String]) -> Option<String> {
    let known = |name: &&String| offered(name).is_some() || ALWAYS.contains(&name.as_str());
    let wrong = names.iter().find(|name| !known(name))?;
    let list = OFFERED.join(", ");
    let weak = WEAK.contains(&wrong.as_str());
    Some(match (weak, wrong.contains("RC4") || wrong.contains("3DES")) {
        (true, true) => {
            format!("{wrong} is broken and not offered: leave it out; there are {list}")
        }
        (true, false) => format!(
            "{wrong} is not offered, as it has no forward secrecy or is in CBC mode: leave it out; \
             there are {list}"
        ),
        (false, _) => format!("{wrong:?} is no cipher suite that is known here; there are {list}"),
    })
}
