//! Starts that are refused, with the file and what to do.

use super::common::{Kind, Server};
use super::pki::{Authority, Files, Wanted};

#[test]
fn a_start_with_files_that_cannot_be_used_is_refused() {
    let ca = Authority::new("ca");
    let other = ca.issue(&Wanted::default());
    for (side, file, text, expected) in [
        ("", "cert.pem", "rubbish", "there is no certificate in PEM"),
        (
            "peer-",
            "key.pem",
            other.key.as_str(),
            "does not belong to the certificate of --peer-cert-file",
        ),
        ("peer-", "ca.pem", "", "there is no certificate in PEM"),
        ("", "key.pem", "", "there is no private key in PEM"),
    ] {
        let files = Files::new(&ca.pem(), &ca.issue(&Wanted::default()));
        files.put(file, text);
        let mut server = Server::prepare(Kind::Keelson, &[]);
        server.flags.extend(files.flags(side));
        let refused = server.try_launch().unwrap_err();
        assert!(refused.status.is_some_and(|status| status.code() == Some(1)), "{refused:?}");
        assert!(refused.log.contains(expected), "{}", refused.log);
        assert!(refused.log.contains(&files.path(file).display().to_string()), "{}", refused.log);
        assert!(!server.data_dir.join("member").exists(), "nothing was begun");
    }
}
