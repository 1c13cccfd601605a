//! Holds every name and number that crosses a wire or lies on a disk: a renumbered field fails here.
//!
//! To accept an intended addition: `ORLOP_ACCEPT=1 cargo test -p proto`, then read the difference.

use std::fmt::Write;

use prost::Message;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorSet,
    ServiceDescriptorProto,
};

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/wire.txt");

fn type_name(field: &FieldDescriptorProto) -> String {
    let name = match field.r#type() {
        Type::Message | Type::Enum | Type::Group => {
            field.type_name().trim_start_matches('.').to_owned()
        }
        scalar => format!("{scalar:?}").to_lowercase(),
    };
    if field.label() == Label::Repeated { format!("[]{name}") } else { name }
}

fn describe_message(path: &str, message: &DescriptorProto, lines: &mut Vec<String>) {
    let path = format!("{path}.{}", message.name());
    lines.push(format!("message {path}"));
    for field in &message.field {
        let oneof = field.oneof_index.map_or(String::new(), |index| {
            let index = usize::try_from(index).expect("an index is not negative");
            format!(" oneof {}", message.oneof_decl[index].name())
        });
        let mut line =
            format!("{path} {} = {} {}{oneof}", field.name(), field.number(), type_name(field));
        if field.json_name() == "peerURLs" || field.json_name() == "clientURLs" {
            write!(line, " json {}", field.json_name()).expect("a string takes all text");
        }
        lines.push(line);
    }
    for inner in &message.enum_type {
        describe_enum(&path, inner, lines);
    }
    for inner in &message.nested_type {
        describe_message(&path, inner, lines);
    }
}

fn describe_enum(path: &str, one: &EnumDescriptorProto, lines: &mut Vec<String>) {
    for value in &one.value {
        lines.push(format!("enum {path}.{} {} = {}", one.name(), value.name(), value.number()));
    }
}

fn describe_service(path: &str, service: &ServiceDescriptorProto, lines: &mut Vec<String>) {
    for method in &service.method {
        let stream = |yes| if yes { "stream " } else { "" };
        lines.push(format!(
            "rpc /{path}.{}/{} ({}{}) -> ({}{})",
            service.name(),
            method.name(),
            stream(method.client_streaming()),
            method.input_type().trim_start_matches('.'),
            stream(method.server_streaming()),
            method.output_type().trim_start_matches('.'),
        ));
    }
}

fn describe() -> Vec<String> {
    let set = FileDescriptorSet::decode(proto::DESCRIPTORS).expect("our own build wrote it");
    let mut lines = Vec::new();
    for file in &set.file {
        for message in &file.message_type {
            describe_message(file.package(), message, &mut lines);
        }
        for one in &file.enum_type {
            describe_enum(file.package(), one, &mut lines);
        }
        for service in &file.service {
            describe_service(file.package(), service, &mut lines);
        }
    }
    lines.sort();
    lines
}

#[test]
fn nothing_on_the_wire_was_renumbered_or_renamed() {
    let lines = describe();
    if std::env::var_os("ORLOP_ACCEPT").is_some() {
        std::fs::write(GOLDEN, lines.join("\n") + "\n").expect("the repository can be written");
    }

    let golden = std::fs::read_to_string(GOLDEN).expect("tests/wire.txt is in the repository");
    let golden: Vec<&str> = golden.lines().collect();
    let gone: Vec<_> = golden.iter().filter(|line| !lines.iter().any(|l| l == *line)).collect();
    let new: Vec<_> = lines.iter().filter(|line| !golden.contains(&line.as_str())).collect();
    assert!(gone.is_empty() && new.is_empty(), "gone or changed: {gone:#?}\nnew: {new:#?}");
}

/// The golden list could be wrong from the start: these are known from outside.
#[test]
fn well_known_numbers_are_as_etcd_and_kubernetes_have_them() {
    let lines = describe();
    for known in [
        "etcdserverpb.RangeRequest limit = 3 int64",
        "etcdserverpb.Compare range_end = 64 bytes",
        "etcdserverpb.WatchResponse events = 11 []mvccpb.Event",
        "etcdserverpb.LeaseGrantRequest TTL = 1 int64",
        "etcdserverpb.Member peer_urls = 3 []string json peerURLs",
        "etcdserverpb.TxnRequest failure = 3 []etcdserverpb.RequestOp",
        "mvccpb.KeyValue value = 5 bytes",
        "enum mvccpb.Event.EventType DELETE = 1",
        "enum authpb.Permission.Type READWRITE = 2",
        "authpb.Permission range_end = 3 bytes",
        "authpb.User options = 4 authpb.UserAddOptions",
        "etcdserverpb.AuthUserAddRequest hashedPassword = 4 string",
        "etcdserverpb.AuthUserGrantRoleRequest user = 1 string",
        "etcdserverpb.AuthRoleRevokePermissionRequest range_end = 3 bytes",
        "etcdserverpb.AuthStatusResponse authRevision = 3 uint64",
        "etcdserverpb.AuthenticateResponse token = 2 string",
        "rpc /etcdserverpb.Auth/Authenticate (etcdserverpb.AuthenticateRequest) -> \
         (etcdserverpb.AuthenticateResponse)",
        "rpc /etcdserverpb.Watch/Watch (stream etcdserverpb.WatchRequest) -> \
         (stream etcdserverpb.WatchResponse)",
        "rpc /etcdserverpb.KV/Compact (etcdserverpb.CompactionRequest) -> \
         (etcdserverpb.CompactionResponse)",
        "rpc /runtime.v1.RuntimeService/RunPodSandbox (runtime.v1.RunPodSandboxRequest) -> \
         (runtime.v1.RunPodSandboxResponse)",
        "runtime.v1.KeyValue value = 2 bytes",
        "enum runtime.v1.ContainerState CONTAINER_UNKNOWN = 3",
    ] {
        assert!(lines.iter().any(|line| line == known), "missing: {known}");
    }
}

/// Bytes made by hand from etcd's documented numbers: field 1 = key, field 3 = limit.
#[test]
fn a_range_request_made_by_hand_is_understood() {
    let wire: &[u8] = &[0x0a, 0x01, b'a', 0x18, 0x05];
    let request = proto::etcdserverpb::RangeRequest::decode(wire).expect("valid");
    assert_eq!(request.key.as_ref(), b"a");
    assert_eq!(request.limit, 5);
    assert_eq!(request.encode_to_vec(), wire);
}
