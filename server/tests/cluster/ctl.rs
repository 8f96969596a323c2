//! etcd's own command line against all members.

use super::alone;
use super::common::{Cluster, CtlOutput, START_BOUND, etcdctl_on, poll};

fn ctl(endpoints: &str, line: &str) -> CtlOutput {
    let args: Vec<_> = line.split(' ').map(str::to_owned).collect();
    etcdctl_on(endpoints, &args)
}

fn stdout(output: &CtlOutput) -> String {
    assert_eq!(output.code, Some(0), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn etcdctl_works_with_all_members() {
    let _alone = alone().await;
    let cluster = Cluster::start(3);
    let all = cluster.endpoints();
    let table = stdout(&ctl(&all, "member list -w table"));
    for server in &cluster.servers {
        assert!(table.contains(&server.endpoint()) && table.contains(&server.peer_url()));
    }
    assert_eq!(table.matches("started").count(), 3, "{table}");
    for (number, server) in cluster.servers.iter().enumerate() {
        stdout(&ctl(&server.endpoint(), &format!("put key{number} value")));
    }
    let keys = stdout(&ctl(&all, "get --prefix key --keys-only"));
    assert_eq!(keys.split_whitespace().count(), 3, "{keys}");

    let status = stdout(&ctl(&all, "endpoint status --cluster -w simple"));
    let leads = |line: &&str| line.split(", ").nth(4) == Some("true");
    assert_eq!(status.lines().filter(leads).count(), 1, "{status}");
    assert_eq!(stdout(&ctl(&all, "endpoint hashkv --cluster")).lines().count(), 3);
    let health = ctl(&all, "endpoint health --cluster");
    assert_eq!(health.code, Some(0), "{health:?}");

    let old = status.lines().find(leads).unwrap();
    let target = status.lines().find(|line| !leads(line)).unwrap();
    let id = target.split(", ").nth(1).unwrap();
    let moved = stdout(&ctl(&all, &format!("move-leader {id}")));
    assert!(moved.contains("Leadership transferred"), "{moved}");
    // A new leader says so once a quorum has answered it.
    let leader = poll(START_BOUND, || {
        let status = stdout(&ctl(&all, "endpoint status --cluster -w simple"));
        status.lines().find(leads).map(ToOwned::to_owned)
    });
    let leader = leader.expect("somebody leads");
    assert_eq!(leader.split(", ").nth(1), Some(id), "{leader}");
    assert_ne!(leader.split(", ").nth(1), old.split(", ").nth(1));
}
