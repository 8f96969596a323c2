//! Every RPC that is served, with the labels that its metrics carry.

/// How an RPC streams, in the words of the metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RpcType {
    /// One message each way.
    Unary,
    /// One request, many responses.
    ServerStream,
    /// Many each way.
    BidiStream,
}

impl RpcType {
    /// The value of `grpc_type`.
    pub fn label(self) -> &'static str {
        match self {
            RpcType::Unary => "unary",
            RpcType::ServerStream => "server_stream",
            RpcType::BidiStream => "bidi_stream",
        }
    }
}

/// One RPC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RpcDef {
    /// Service with its package.
    pub service: &'static str,
    /// Method.
    pub method: &'static str,
    /// How it streams.
    pub kind: RpcType,
}

const fn unary(service: &'static str, method: &'static str) -> RpcDef {
    RpcDef { service, method, kind: RpcType::Unary }
}

const fn server(service: &'static str, method: &'static str) -> RpcDef {
    RpcDef { service, method, kind: RpcType::ServerStream }
}

const fn bidi(service: &'static str, method: &'static str) -> RpcDef {
    RpcDef { service, method, kind: RpcType::BidiStream }
}

const KV: &str = "etcdserverpb.KV";
const WATCH: &str = "etcdserverpb.Watch";
const LEASE: &str = "etcdserverpb.Lease";
const CLUSTER: &str = "etcdserverpb.Cluster";
const MAINTENANCE: &str = "etcdserverpb.Maintenance";
const AUTH: &str = "etcdserverpb.Auth";
const LOCK: &str = "v3lockpb.Lock";
const ELECTION: &str = "v3electionpb.Election";
const HEALTH: &str = "grpc.health.v1.Health";

/// All of them.
pub const RPCS: &[RpcDef] = &[
    unary(KV, "Range"),
    server(KV, "RangeStream"),
    unary(KV, "Put"),
    unary(KV, "DeleteRange"),
    unary(KV, "Txn"),
    unary(KV, "Compact"),
    bidi(WATCH, "Watch"),
    unary(LEASE, "LeaseGrant"),
    unary(LEASE, "LeaseRevoke"),
    bidi(LEASE, "LeaseKeepAlive"),
    unary(LEASE, "LeaseTimeToLive"),
    unary(LEASE, "LeaseLeases"),
    unary(CLUSTER, "MemberAdd"),
    unary(CLUSTER, "MemberRemove"),
    unary(CLUSTER, "MemberUpdate"),
    unary(CLUSTER, "MemberList"),
    unary(CLUSTER, "MemberPromote"),
    unary(MAINTENANCE, "Alarm"),
    unary(MAINTENANCE, "Status"),
    unary(MAINTENANCE, "Defragment"),
    unary(MAINTENANCE, "Hash"),
    unary(MAINTENANCE, "HashKV"),
    server(MAINTENANCE, "Snapshot"),
    unary(MAINTENANCE, "MoveLeader"),
    unary(MAINTENANCE, "Downgrade"),
    unary(AUTH, "AuthEnable"),
    unary(AUTH, "AuthDisable"),
    unary(AUTH, "AuthStatus"),
    unary(AUTH, "Authenticate"),
    unary(AUTH, "UserAdd"),
    unary(AUTH, "UserGet"),
    unary(AUTH, "UserList"),
    unary(AUTH, "UserDelete"),
    unary(AUTH, "UserChangePassword"),
    unary(AUTH, "UserGrantRole"),
    unary(AUTH, "UserRevokeRole"),
    unary(AUTH, "RoleAdd"),
    unary(AUTH, "RoleGet"),
    unary(AUTH, "RoleList"),
    unary(AUTH, "RoleDelete"),
    unary(AUTH, "RoleGrantPermission"),
    unary(AUTH, "RoleRevokePermission"),
    unary(LOCK, "Lock"),
    unary(LOCK, "Unlock"),
    unary(ELECTION, "Campaign"),
    unary(ELECTION, "Proclaim"),
    unary(ELECTION, "Leader"),
    server(ELECTION, "Observe"),
    unary(ELECTION, "Resign"),
    unary(HEALTH, "Check"),
    server(HEALTH, "Watch"),
];
