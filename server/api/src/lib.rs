//! etcd's wire contract for Keelson: messages, services, error texts, a thin client.
//!
//! The messages and services are generated from the `.proto` files in `proto/`, which give etcd's
//! names and numbers in our own words. `bytes` fields are [`bytes::Bytes`], so a decoded request
//! shares the memory of the frame it came in.

#![warn(missing_docs)]

pub mod client;
pub mod codec;
pub mod errors;

/// Puts a generated package into a module, with the lints off that generated code cannot meet.
macro_rules! package {
    ($(#[$doc:meta])* $module:ident, $package:literal) => {
        $(#[$doc])*
        #[allow(
            missing_docs,
            missing_debug_implementations,
            unreachable_pub,
            unused_qualifications,
            clippy::all,
            clippy::allow_attributes_without_reason,
            clippy::wildcard_enum_match_arm,
            clippy::let_underscore_must_use,
            clippy::large_futures,
            clippy::unwrap_used,
            reason = "generated from the proto files"
        )]
        pub mod $module {
            tonic::include_proto!($package);
        }
    };
}

// The packages refer to each other as siblings.
package!(
    /// Keys and events.
    mvccpb,
    "mvccpb"
);
package!(
    /// Users, roles and permissions.
    authpb,
    "authpb"
);
package!(
    /// Membership entries of etcd's log.
    membershippb,
    "membershippb"
);
package!(
    /// The services that etcd's clients use, and the entries of etcd's log.
    etcdserverpb,
    "etcdserverpb"
);
package!(
    /// The lock service.
    v3lockpb,
    "v3lockpb"
);
package!(
    /// The election service.
    v3electionpb,
    "v3electionpb"
);
package!(
    /// The standard health service of gRPC.
    health,
    "grpc.health.v1"
);
package!(
    /// What members say to each other; Keelson's own, not etcd's.
    peer,
    "keelson.peer.v1"
);
