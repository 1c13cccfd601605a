//! What the gateway knows of the messages: their fields, by number and by JSON name, and the RPCs.
//!
//! Read from the compiled contracts, so that a field that is added there is carried here.

use std::{
    collections::{BTreeMap, HashMap},
    sync::LazyLock,
};

use prost::Message as _;
use prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorSet,
    field_descriptor_proto::{Label, Type},
};

/// All messages of etcd's packages.
pub(super) static SCHEMA: LazyLock<Schema> = LazyLock::new(Schema::read);

const PACKAGES: [&str; 5] = ["authpb", "etcdserverpb", "mvccpb", "v3electionpb", "v3lockpb"];

/// Messages, enums and RPCs.
#[derive(Default)]
pub(super) struct Schema {
    messages: HashMap<String, Message>,
    enums: HashMap<String, Enum>,
    methods: HashMap<String, Method>,
}

/// One message's fields.
#[derive(Default)]
pub(super) struct Message {
    by_number: BTreeMap<u32, Field>,
    /// Both spellings: the contract's, and the one that JSON libraries make of it.
    by_name: HashMap<String, u32>,
}

/// One field.
pub(super) struct Field {
    /// The name that answers have: the contract's own, as etcd's gateway writes it.
    pub(super) name: String,
    pub(super) number: u32,
    pub(super) kind: Kind,
    pub(super) repeated: bool,
    pub(super) oneof: Option<i32>,
}

/// How a value is written, on the wire and in JSON.
pub(super) enum Kind {
    Int32,
    Int64,
    Uint32,
    Uint64,
    Bool,
    Text,
    Bytes,
    Enum(String),
    Message(String),
}

/// An enum's names and numbers.
#[derive(Default)]
pub(super) struct Enum {
    names: HashMap<i32, String>,
    numbers: HashMap<String, i32>,
}

/// One RPC.
pub(super) struct Method {
    pub(super) input: String,
    pub(super) output: String,
    pub(super) client_streams: bool,
    pub(super) server_streams: bool,
}

fn bare(name: &str) -> String {
    name.trim_start_matches('.').to_owned()
}

/// What a JSON library makes of a name: `range_end` becomes `rangeEnd`.
fn camel(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    let mut upper = false;
    for c in name.chars() {
        if c == '_' {
            upper = true;
        } else if upper {
            out.extend(c.to_uppercase());
            upper = false;
        } else {
            out.push(c);
        }
    }
    out
}

impl Field {
    fn read(field: &FieldDescriptorProto) -> Option<Self> {
        let kind = match field.r#type() {
            Type::Int32 => Kind::Int32,
            Type::Int64 => Kind::Int64,
            Type::Uint32 => Kind::Uint32,
            Type::Uint64 => Kind::Uint64,
            Type::Bool => Kind::Bool,
            Type::String => Kind::Text,
            Type::Bytes => Kind::Bytes,
            Type::Enum => Kind::Enum(bare(field.type_name())),
            Type::Message => Kind::Message(bare(field.type_name())),
            // etcd's contracts have no others; a test says so.
            _ => return None,
        };
        // An explicit JSON name stands where etcd's own name is not a name of ours.
        let explicit = field.json_name() != camel(field.name());
        let name = if explicit { field.json_name() } else { field.name() };
        Some(Self {
            name: name.to_owned(),
            number: u32::try_from(field.number()).ok()?,
            kind,
            repeated: field.label() == Label::Repeated,
            oneof: field.oneof_index,
        })
    }
}

impl Message {
    fn read(message: &DescriptorProto) -> Self {
        let mut read = Self::default();
        for descriptor in &message.field {
            let Some(field) = Field::read(descriptor) else { continue };
            for name in [descriptor.name(), descriptor.json_name(), &field.name] {
                read.by_name.insert(name.to_owned(), field.number);
            }
            read.by_number.insert(field.number, field);
        }
        read
    }

    pub(super) fn number(&self, number: u32) -> Option<&Field> {
        self.by_number.get(&number)
    }

    pub(super) fn named(&self, name: &str) -> Option<&Field> {
        self.by_number.get(self.by_name.get(name)?)
    }
}

impl Enum {
    fn read(one: &EnumDescriptorProto) -> Self {
        let mut read = Self::default();
        for value in &one.value {
            read.names.insert(value.number(), value.name().to_owned());
            read.numbers.insert(value.name().to_owned(), value.number());
        }
        read
    }

    pub(super) fn name(&self, number: i32) -> Option<&str> {
        self.names.get(&number).map(String::as_str)
    }

    pub(super) fn number(&self, name: &str) -> Option<i32> {
        self.numbers.get(name).copied()
    }
}

impl Schema {
    fn read() -> Self {
        let set = FileDescriptorSet::decode(proto::DESCRIPTORS).expect("our own build wrote it");
        let mut schema = Self::default();
        for file in set.file.iter().filter(|file| PACKAGES.contains(&file.package())) {
            for message in &file.message_type {
                schema.add(file.package(), message);
            }
            for one in &file.enum_type {
                let name = format!("{}.{}", file.package(), one.name());
                schema.enums.insert(name, Enum::read(one));
            }
            for service in &file.service {
                for method in &service.method {
                    let path = format!("/{}.{}/{}", file.package(), service.name(), method.name());
                    let method = Method {
                        input: bare(method.input_type()),
                        output: bare(method.output_type()),
                        client_streams: method.client_streaming(),
                        server_streams: method.server_streaming(),
                    };
                    schema.methods.insert(path, method);
                }
            }
        }
        schema
    }

    fn add(&mut self, path: &str, message: &DescriptorProto) {
        let path = format!("{path}.{}", message.name());
        for inner in &message.nested_type {
            self.add(&path, inner);
        }
        for one in &message.enum_type {
            self.enums.insert(format!("{path}.{}", one.name()), Enum::read(one));
        }
        self.messages.insert(path, Message::read(message));
    }

    /// A message's fields; every name that the schema itself mentions is there.
    pub(super) fn message(&self, name: &str) -> &Message {
        self.messages.get(name).expect("the compiler resolved every type")
    }

    pub(super) fn one_enum(&self, name: &str) -> &Enum {
        self.enums.get(name).expect("the compiler resolved every type")
    }

    /// The RPC with this gRPC path.
    pub(super) fn method(&self, path: &str) -> Option<&Method> {
        self.methods.get(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_have_etcds_names() {
        let member = SCHEMA.message("etcdserverpb.Member");
        assert_eq!(member.named("peerURLs").unwrap().name, "peerURLs");
        let range = SCHEMA.message("etcdserverpb.RangeRequest");
        assert_eq!(range.named("rangeEnd").unwrap().name, "range_end");
        assert_eq!(range.named("range_end").unwrap().number, 2);
        assert_eq!(
            SCHEMA.message("etcdserverpb.LeaseGrantRequest").named("TTL").unwrap().number,
            1
        );
    }

    #[test]
    fn every_field_of_etcds_contracts_can_be_carried() {
        let set = FileDescriptorSet::decode(proto::DESCRIPTORS).unwrap();
        for file in set.file.iter().filter(|file| PACKAGES.contains(&file.package())) {
            for message in &file.message_type {
                let name = format!("{}.{}", file.package(), message.name());
                assert_eq!(SCHEMA.message(&name).by_number.len(), message.field.len(), "{name}");
            }
        }
    }
}
