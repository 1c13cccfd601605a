//! The wire contracts: what is generated from the `.proto` files beside this crate, and nothing else.

/// etcd's users, roles and permissions.
pub mod authpb {
    tonic::include_proto!("authpb");
}

/// etcd's client interface, version 3.
pub mod etcdserverpb {
    tonic::include_proto!("etcdserverpb");
}

/// etcd's key-values and events.
pub mod mvccpb {
    tonic::include_proto!("mvccpb");
}

/// etcd's elections.
pub mod v3electionpb {
    tonic::include_proto!("v3electionpb");
}

/// etcd's locks.
pub mod v3lockpb {
    tonic::include_proto!("v3lockpb");
}

/// gRPC's own.
pub mod grpc {
    /// Whether a server serves.
    pub mod health {
        /// Version 1.
        pub mod v1 {
            tonic::include_proto!("grpc.health.v1");
        }
    }
}

/// Orlop's own.
pub mod orlop {
    /// What backups ask of a member.
    pub mod backup {
        /// Version 1.
        pub mod v1 {
            tonic::include_proto!("orlop.backup.v1");
        }
    }

    /// What members of a store say to each other.
    pub mod peer {
        /// Version 1.
        pub mod v1 {
            tonic::include_proto!("orlop.peer.v1");
        }
    }

    /// What the raft log carries, and the records kept on disk.
    pub mod store {
        /// Version 1.
        pub mod v1 {
            tonic::include_proto!("orlop.store.v1");
        }
    }
}

/// The container runtime interface (CRI).
pub mod runtime {
    /// Version 1.
    pub mod v1 {
        tonic::include_proto!("runtime.v1");
    }
}

/// The compiled contracts as an encoded `google.protobuf.FileDescriptorSet`.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
