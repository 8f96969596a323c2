//! etcd's own command line over TLS, and what etcd itself does with the same flags.

use super::alone;
use super::common::{CtlOutput, Kind, Server, etcdctl_on};
use super::pki::{Authority, Files, Wanted};

fn ctl(server: &Server, flags: &[String], line: &str) -> CtlOutput {
    let words = line.split(' ').map(str::to_owned);
    let quick = ["--dial-timeout=2s".to_owned(), "--command-timeout=3s".to_owned()];
    let args: Vec<_> = flags.iter().cloned().chain(quick).chain(words).collect();
    etcdctl_on(&server.client_url(), &args)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn etcdctl_works_with_certificates() {
    let ca = Authority::new("ca");
    let files = Files::new(&ca.pem(), &ca.issue(&Wanted::default()));
    let mut server = Server::prepare(Kind::subject(), &[]);
    server.schemes.0 = "https";
    server.flags.extend(files.flags(""));
    server.launch();
    let flags = files.ctl_flags();
    let done = |line: &str| {
        let output = ctl(&server, &flags, line);
        assert_eq!(output.code, Some(0), "{line}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(done("put key value"), "OK\n");
    assert_eq!(done("get key"), "key\nvalue\n");
    assert!(done("member list").contains(&server.client_url()));
    assert!(done("endpoint status --cluster -w simple").contains(&server.client_url()));
    done("endpoint health --cluster");
    let none = ctl(&server, &flags[..1], "get key");
    assert_ne!(none.code, Some(0), "without a certificate: {none:?}");
}

/// What a client shows.
const SHOWN: [&str; 4] = ["nothing", "good", "foreign", "revoked"];

/// Who gets through to a server with these flags.
fn admitted(kind: Kind, flags: &[&str], names: &[&str]) -> Vec<(&'static str, bool)> {
    let (ca, foreign) = (Authority::new("ca"), Authority::new("foreign"));
    let issue = |serial| ca.issue(&Wanted { serial, hosts: names, ..Wanted::default() });
    let own = Files::new(&ca.pem(), &ca.issue(&Wanted::default()));
    own.put("crl.pem", &ca.revoke(&[9]));
    let mut server = Server::prepare(kind, &[]);
    server.schemes.0 = "https";
    for (name, file) in [
        ("cert-file", "cert.pem"),
        ("key-file", "key.pem"),
        ("trusted-ca-file", "ca.pem"),
        ("client-crl-file", "crl.pem"),
        ("client-cert-auth", ""),
    ] {
        let given = match file {
            "" => format!("--{name}"),
            file => format!("--{name}={}", own.path(file).display()),
        };
        if flags.contains(&name) {
            server.flags.push(given);
        }
    }
    server.flags.extend(flags.iter().filter(|f| f.starts_with("--")).map(ToString::to_string));
    server.launch();
    let try_it = &|shown: &str| {
        let identity = match shown {
            "foreign" => foreign.issue(&Wanted::default()),
            "revoked" => issue(9),
            _ => issue(2),
        };
        let client = Files::new(&ca.pem(), &identity);
        let all = client.ctl_flags();
        let given = if shown == "nothing" { &all[..1] } else { &all[..] };
        ctl(&server, given, "get key").code == Some(0)
    };
    // At once, as those that are refused wait for long.
    std::thread::scope(|scope| {
        let tries = SHOWN.map(|shown| (shown, scope.spawn(move || try_it(shown))));
        tries.map(|(shown, gets_in)| (shown, gets_in.join().unwrap())).to_vec()
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn etcd_lets_the_same_clients_in() {
    let _alone = alone().await;
    let here: &[&str] = &["localhost", "127.0.0.1"];
    for flags in [
        &["cert-file", "key-file"][..],
        &["cert-file", "key-file", "trusted-ca-file"],
        &["cert-file", "key-file", "trusted-ca-file", "client-cert-auth"],
        &["cert-file", "key-file", "trusted-ca-file", "client-crl-file"],
        &["cert-file", "key-file", "trusted-ca-file", "--client-cert-allowed-hostname=localhost"],
        &["cert-file", "key-file", "trusted-ca-file", "--client-cert-allowed-hostname=other"],
        &["--auto-tls"],
    ] {
        let (keelson, etcd) = std::thread::scope(|scope| {
            let keelson = scope.spawn(|| admitted(Kind::Keelson, flags, here));
            let etcd = admitted(Kind::Etcd, flags, here);
            (keelson.join().unwrap(), etcd)
        });
        assert_eq!(keelson, etcd, "{flags:?}");
    }
}
