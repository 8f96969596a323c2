//! Every name and number of our proto files against `contract.txt`, which lists etcd's.
//!
//! Lines: `field MESSAGE NAME NUMBER TYPE LABEL`, `empty MESSAGE`, `enum ENUM VALUE NUMBER`,
//! `rpc PATH one|stream REQUEST one|stream RESPONSE`, sorted.

#![expect(clippy::unwrap_used, reason = "a test may panic")]
use std::collections::BTreeSet;

use protox::prost_reflect::prost_types::field_descriptor_proto::{Label, Type};
use protox::prost_reflect::prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorProto,
};

const EXPECTED: &str = include_str!("contract.txt");

const FILES: [&str; 4] = [
    "etcdserverpb/raft_internal.proto",
    "etcdserverpb/etcdserver.proto",
    "v3lockpb/v3lock.proto",
    "v3electionpb/v3election.proto",
];

fn field_line(message: &str, of: &DescriptorProto, field: &FieldDescriptorProto) -> String {
    let kind = if matches!(field.r#type(), Type::Message | Type::Enum) {
        field.type_name().trim_start_matches('.').to_owned()
    } else {
        field.r#type().as_str_name().trim_start_matches("TYPE_").to_lowercase()
    };
    let oneof = field.oneof_index.map(|i| of.oneof_decl[usize::try_from(i).unwrap()].name());
    let label = match (oneof, field.label()) {
        (Some(name), _) => format!("oneof:{name}"),
        (None, Label::Repeated) => "repeated".to_owned(),
        (None, Label::Optional | Label::Required) => "optional".to_owned(),
    };
    format!("field {message} {} {} {kind} {label}", field.name(), field.number())
}

fn enum_lines(scope: &str, of: &EnumDescriptorProto, lines: &mut BTreeSet<String>) {
    for value in &of.value {
        lines.insert(format!("enum {scope}.{} {} {}", of.name(), value.name(), value.number()));
    }
}

fn file_lines(file: &FileDescriptorProto, lines: &mut BTreeSet<String>) {
    let package = file.package();
    for message in &file.message_type {
        let name = format!("{package}.{}", message.name());
        if message.field.is_empty() {
            lines.insert(format!("empty {name}"));
        }
        lines.extend(message.field.iter().map(|f| field_line(&name, message, f)));
        message.enum_type.iter().for_each(|e| enum_lines(&name, e, lines));
    }
    file.enum_type.iter().for_each(|e| enum_lines(package, e, lines));
    for service in &file.service {
        for rpc in &service.method {
            let many = |stream| if stream { "stream" } else { "one" };
            lines.insert(format!(
                "rpc /{package}.{}/{} {} {} {} {}",
                service.name(),
                rpc.name(),
                many(rpc.client_streaming()),
                rpc.input_type().trim_start_matches('.'),
                many(rpc.server_streaming()),
                rpc.output_type().trim_start_matches('.'),
            ));
        }
    }
}

#[test]
fn every_name_and_number_is_etcds() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/proto");
    let mut lines = BTreeSet::new();
    for file in protox::compile(FILES, [folder]).unwrap().file {
        file_lines(&file, &mut lines);
    }
    let expected: BTreeSet<String> = EXPECTED.lines().map(str::to_owned).collect();
    let missing: Vec<_> = expected.difference(&lines).collect();
    let unknown: Vec<_> = lines.difference(&expected).collect();
    assert!(missing.is_empty() && unknown.is_empty(), "missing {missing:#?}\nunknown {unknown:#?}");
    assert_eq!(expected.iter().filter(|l| l.starts_with("rpc ")).count(), 49);
}
