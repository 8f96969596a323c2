//! Who is kept out, and that both sides say why.

use super::alone;
use super::channel::Trust;
use super::common::requests::put;
use super::common::{Cluster, START_BOUND, poll};
use super::pki::{Authority, Files, Wanted, show};

/// Serial number of the third member.
const THIRD: u64 = 3;

struct Guarded {
    cluster: Cluster,
    ca: Authority,
    files: Vec<Files>,
}

/// Three members that demand a certificate, a name in it, and that it is not on a list.
fn guarded() -> Guarded {
    let ca = Authority::new("ca");
    let mut cluster = Cluster::prepare(3, &["--peer-cert-allowed-cn=member"]);
    let mut files = Vec::new();
    for (server, serial) in cluster.servers.iter_mut().zip(1..) {
        let own = Files::new(&ca.pem(), &ca.issue(&Wanted { serial, ..Wanted::default() }));
        own.put("crl.pem", &ca.revoke(&[99]));
        server.schemes.1 = "https";
        server.flags.extend(own.flags("peer-"));
        if serial != THIRD {
            server.flags.push(format!("--peer-crl-file={}", show(&own.path("crl.pem"))));
        }
        files.push(own);
    }
    cluster.introduce();
    cluster.launch();
    Guarded { cluster, ca, files }
}

impl Guarded {
    /// The third member, as `spoil` leaves it, does not get in; `healed` by its files alone, it
    /// does. Both sides' reasons are in their logs.
    async fn kept_out(
        &mut self,
        case: &'static str,
        spoil: impl FnOnce(&Self),
        here: &str,
        there: &str,
        heal: impl FnOnce(&Self),
    ) {
        self.cluster.servers[2].kill();
        self.cluster.leader_among(&[0, 1]).await;
        spoil(self);
        self.cluster.servers[2].spawn();
        self.cluster.servers[2].wait_log(there);
        let [first, second, third] = &self.cluster.servers[..] else { panic!("three members") };
        let said = poll(START_BOUND, || {
            (first.log().contains(here) || second.log().contains(here)).then_some(())
        });
        assert!(said.is_some(), "{case}: {here:?} is not in\n{}", first.log_tail());
        assert!(!third.log().contains("ready to serve"), "{case}: it serves");
        first.client().await.kv().put(put("key", case)).await.unwrap();
        heal(self);
        self.cluster.servers[2].wait_ready();
        self.cluster.check_same_data().await;
    }

    fn good(&self) {
        let identity = self.ca.issue(&Wanted { serial: THIRD, ..Wanted::default() });
        self.files[2].put_identity(&identity);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_without_the_right_certificate_is_kept_out_and_both_sides_say_why() {
    let _alone = alone().await;
    let mut guarded = guarded();
    let foreign = Authority::new("foreign");
    guarded
        .kept_out(
            "foreign authority",
            |g| g.files[2].put_identity(&foreign.issue(&Wanted::default())),
            "its certificate is not of a trusted authority",
            "not of an authority that it trusts (UnknownCA)",
            Guarded::good,
        )
        .await;
    guarded
        .kept_out(
            "expired",
            |g| {
                let expired = Wanted { serial: THIRD, last_year: 2021, ..Wanted::default() };
                g.files[2].put_identity(&g.ca.issue(&expired));
            },
            "its certificate expired on Dec 31",
            "has expired (CertificateExpired)",
            Guarded::good,
        )
        .await;
    guarded
        .kept_out(
            "wrong name",
            |g| {
                let other = Wanted { name: "other", serial: THIRD, ..Wanted::default() };
                g.files[2].put_identity(&g.ca.issue(&other));
            },
            "its common name \\\"other\\\" is not allowed",
            "is not allowed (CertificateUnknown)",
            Guarded::good,
        )
        .await;
    let lists = |g: &Guarded, serial: u64| {
        for files in &g.files[..2] {
            files.put("crl.pem", &g.ca.revoke(&[99, serial]));
        }
    };
    guarded
        .kept_out(
            "revoked",
            |g| {
                lists(g, THIRD);
                for server in &g.cluster.servers[..2] {
                    server.wait_log("new certificates are in use");
                }
            },
            "its certificate is revoked",
            "is revoked (CertificateRevoked)",
            |g| lists(g, 98),
        )
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_expired_certificate_is_told_at_the_start() {
    let _alone = alone().await;
    let ca = Authority::new("ca");
    let expired = Wanted { last_year: 2021, ..Wanted::default() };
    let files = Files::new(&ca.pem(), &ca.issue(&expired));
    let mut cluster = Cluster::prepare(1, &[]);
    cluster.servers[0].schemes.1 = "https";
    cluster.servers[0].flags.extend(files.flags("peer-"));
    cluster.introduce();
    cluster.launch();
    let log = cluster.servers[0].log();
    let line = log.lines().find(|line| line.contains("a certificate has expired"));
    let line = line.expect("it is told");
    assert!(line.contains("Dec 31") && line.contains("2021"), "{line}");
    assert!(line.contains(&show(&files.path("cert.pem"))), "{line}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_without_a_certificate_reaches_a_member() {
    let _alone = alone().await;
    let guarded = guarded();
    let server = &guarded.cluster.servers[0];
    let none = Trust { alpn: &["http/1.1"], ..Trust::new(&guarded.ca.pem(), None) };
    let error = none.http1(server.peer_port, "/members").await.unwrap_err();
    assert!(error.to_string().contains("CertificateRequired"), "{error}");
    server.wait_log("it shows no certificate");
    let identity = guarded.ca.issue(&Wanted::default());
    let good = Trust { identity: Some(identity), ..none };
    let members = good.http1(server.peer_port, "/members").await.unwrap();
    assert!(members.starts_with("HTTP/1.1 200") && members.contains("https://"), "{members}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_shows_none_is_told_so() {
    let _alone = alone().await;
    let ca = Authority::new("ca");
    let files = Files::new(&ca.pem(), &ca.issue(&Wanted::default()));
    let mut cluster = Cluster::prepare(2, &[]);
    cluster.servers[0].schemes.1 = "https";
    cluster.servers[0].flags.extend(files.flags("peer-"));
    let trusts = format!("--peer-trusted-ca-file={}", show(&files.path("ca.pem")));
    cluster.servers[1].flags.push(trusts);
    cluster.introduce();
    cluster.servers[0].spawn();
    cluster.servers[1].spawn();
    cluster.servers[1].wait_log("is missing, and it demands one (CertificateRequired)");
    cluster.servers[0].wait_log("it shows no certificate");
}
