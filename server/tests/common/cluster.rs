//! Several servers that are members of one cluster.

use std::time::Duration;

use keelson_api::client::Client;
use keelson_api::etcdserverpb::{HashKvRequest, StatusRequest, StatusResponse};

use super::server::{Kind, Server};
use super::wait::{START_BOUND, now};

/// Pause between two looks at a cluster.
const LOOK_PAUSE: Duration = Duration::from_millis(10);

/// A cluster; its processes and folders go when this value goes.
#[derive(Debug)]
pub struct Cluster {
    pub servers: Vec<Server>,
}

impl Cluster {
    /// Ports, folders and flags of members `m0`, `m1`, …, but no processes yet.
    pub fn prepare(members: usize, flags: &[&str]) -> Self {
        let mut servers: Vec<_> =
            (0..members).map(|_| Server::prepare(Kind::subject(), flags)).collect();
        for (number, server) in servers.iter_mut().enumerate() {
            server.name = format!("m{number}");
        }
        let mut cluster = Self { servers };
        cluster.introduce();
        cluster
    }

    /// Tells every member of all others, as their URLs are now.
    pub fn introduce(&mut self) {
        let list = initial_cluster(&self.servers);
        for server in &mut self.servers {
            server.cluster = Some(list.clone());
        }
    }

    pub fn start(members: usize) -> Self {
        Self::start_with(members, &[])
    }

    pub fn start_with(members: usize, flags: &[&str]) -> Self {
        let mut cluster = Self::prepare(members, flags);
        cluster.launch();
        cluster
    }

    /// Starts all processes and waits until all serve.
    pub fn launch(&mut self) {
        self.servers.iter_mut().for_each(Server::spawn);
        self.servers.iter_mut().for_each(Server::wait_ready);
    }

    pub fn kill(&mut self) {
        self.servers.iter_mut().for_each(Server::kill);
    }

    /// A new server with the flags of one that joins this cluster; not started.
    pub fn joiner(&self, name: &str) -> Server {
        let mut server = Server::prepare(Kind::subject(), &["--initial-cluster-state=existing"]);
        name.clone_into(&mut server.name);
        let own = format!("{name}={}", server.peer_url());
        server.cluster = Some(format!("{},{own}", initial_cluster(&self.servers)));
        server
    }

    pub fn endpoints(&self) -> String {
        self.servers.iter().map(Server::endpoint).collect::<Vec<_>>().join(",")
    }

    /// The number of the member that leads, once all that run agree on one.
    pub async fn leader(&self) -> usize {
        self.leader_among(&(0..self.servers.len()).collect::<Vec<_>>()).await
    }

    /// The same where only some members run.
    pub async fn leader_among(&self, running: &[usize]) -> usize {
        let start = now();
        loop {
            let mut statuses = Vec::new();
            for number in running {
                statuses.push(status(&self.servers[*number]).await);
            }
            let leader = statuses.iter().position(|status| {
                status.leader != 0 && status.leader == status.header.as_ref().unwrap().member_id
            });
            if let Some(leader) = leader
                && statuses.iter().all(|status| {
                    (status.leader, status.raft_term)
                        == (statuses[leader].leader, statuses[leader].raft_term)
                })
            {
                return running[leader];
            }
            assert!(start.elapsed() < START_BOUND, "no leader: {statuses:?}");
            tokio::time::sleep(LOOK_PAUSE).await;
        }
    }

    /// Waits until all members have applied the same, and checks that it is the same.
    pub async fn check_same_data(&self) {
        let start = now();
        loop {
            let mut hashes = Vec::new();
            for server in &self.servers {
                let mut maintenance = server.client().await.maintenance();
                let reply = maintenance.hash_kv(HashKvRequest { revision: 0 }).await.unwrap();
                let reply = reply.into_inner();
                hashes.push((reply.header.unwrap().revision, reply.compact_revision, reply.hash));
            }
            let of = |hash: &(i64, i64, u32)| (hash.0, hash.1);
            if hashes.iter().all(|hash| of(hash) == of(&hashes[0])) {
                assert!(hashes.iter().all(|hash| hash == &hashes[0]), "members differ: {hashes:?}");
                return;
            }
            assert!(start.elapsed() < START_BOUND, "members do not catch up: {hashes:?}");
            tokio::time::sleep(LOOK_PAUSE).await;
        }
    }

    pub async fn clients(&self) -> Vec<Client> {
        let mut clients = Vec::new();
        for server in &self.servers {
            clients.push(server.client().await);
        }
        clients
    }
}

/// What a member says of itself.
pub async fn status(server: &Server) -> StatusResponse {
    let mut maintenance = server.client().await.maintenance();
    maintenance.status(StatusRequest::default()).await.unwrap().into_inner()
}

fn initial_cluster(servers: &[Server]) -> String {
    let one = |server: &Server| format!("{}={}", server.name, server.peer_url());
    servers.iter().map(one).collect::<Vec<_>>().join(",")
}
