//! Compiles our .proto files; protox parses them, so no protoc is needed.

type Failure = Box<dyn std::error::Error>;

/// Files to compile; what they import comes along.
const FILES: [&str; 6] = [
    "etcdserverpb/raft_internal.proto",
    "etcdserverpb/etcdserver.proto",
    "v3lockpb/v3lock.proto",
    "v3electionpb/v3election.proto",
    "health/health.proto",
    "keelson/peer/v1/peer.proto",
];

fn main() -> Result<(), Failure> {
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(FILES, ["proto"])?;
    tonic_prost_build::configure()
        // Keys and values are slices of the request that came in: nothing is copied on the way to
        // the log.
        .bytes(".")
        .codec_path("crate::codec::Codec")
        .emit_rerun_if_changed(false)
        .compile_fds(descriptors)?;
    Ok(())
}
