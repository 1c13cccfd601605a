//! Compiles the `.proto` files of this folder, without protoc.

use std::error::Error;
use std::path::PathBuf;

const FILES: [&str; 10] = [
    "etcd/authpb.proto",
    "etcd/etcdserverpb.proto",
    "etcd/mvccpb.proto",
    "etcd/v3electionpb.proto",
    "etcd/v3lockpb.proto",
    "grpc/health.proto",
    "orlop/backup.proto",
    "orlop/peer.proto",
    "orlop/store.proto",
    "runtime/cri.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    for file in FILES {
        println!("cargo::rerun-if-changed={file}");
    }

    let mut compiler = protox::Compiler::new(["."])?;
    compiler.include_imports(true).open_files(FILES)?;
    let set = compiler.file_descriptor_set();

    // The test of the field numbers reads what was compiled, not what was written.
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("descriptors.bin"), compiler.encode_file_descriptor_set())?;

    tonic_prost_build::configure().bytes(".").compile_fds(set)?;
    Ok(())
}
