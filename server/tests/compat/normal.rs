//! Output without what rightly differs between two servers: ids, addresses, raft positions, sizes,
//! versions, hashes and durations.

use keelson_api::etcdserverpb::{
    CompactionResponse, DeleteRangeResponse, PutResponse, RangeResponse, ResponseHeader,
    StatusResponse, TxnResponse,
};
use prost::Message;
use serde_json::Value;

use super::common::Server;
use super::script::Command;

/// Fields of JSON that are masked. A key's `version` is a number and stays, a server's is a text.
const MASKED: [&str; 16] = [
    "cluster_id",
    "member_id",
    "raft_term",
    "raftTerm",
    "raftIndex",
    "raftAppliedIndex",
    "dbSize",
    "dbSizeInUse",
    "leader",
    "hash",
    "took",
    "ID",
    "Endpoint",
    "endpoint",
    "peerURLs",
    // What is left of a lease.
    "ttl",
];

/// Keys of `-w fields` that are masked.
const MASKED_FIELDS: [&str; 14] = [
    "ClusterID",
    "MemberID",
    "RaftTerm",
    "RaftIndex",
    "RaftAppliedIndex",
    "DBSize",
    "DBSizeInUse",
    "Leader",
    "Version ",
    "Hash",
    "Endpoint",
    "ID",
    "PeerURL",
    "ClientURL",
];

/// What a server is called in its own output.
pub(crate) struct Names {
    client: String,
    peer: String,
    /// The last lease that was granted, as a command line has it and as JSON does.
    lease: Option<(String, String)>,
}

impl Names {
    pub(crate) fn new(server: &Server, lease: Option<&str>) -> Self {
        let number = |lease: &str| i64::from_str_radix(lease, 16).expect("hexadecimal").to_string();
        let lease = lease.map(|lease| (lease.to_owned(), number(lease)));
        Self { client: server.endpoint(), peer: format!("127.0.0.1:{}", server.peer_port), lease }
    }

    pub(crate) fn normal(&self, command: &Command, stdout: &[u8]) -> String {
        match command.format() {
            "protobuf" => protobuf(command, stdout),
            "json" => self.json(&String::from_utf8_lossy(stdout)),
            "fields" => self.fields(command, &String::from_utf8_lossy(stdout)),
            _ => self.cells(command, &String::from_utf8_lossy(stdout)),
        }
    }

    /// The client's own log lines carry times and addresses of objects; the last line is what
    /// scripts look at, and it is compared as it is.
    pub(crate) fn normal_error(&self, stderr: &str) -> String {
        let lines =
            stderr.lines().filter(|line| !line.starts_with('{')).map(|line| self.text(line));
        lines.collect::<Vec<_>>().join("\n")
    }

    fn text(&self, text: &str) -> String {
        let mut named = text.replace(&self.client, "<client>").replace(&self.peer, "<peer>");
        if let Some((id, number)) = &self.lease {
            named = named.replace(id, "<lease>").replace(number, "<lease>");
        }
        if let Some((head, rest)) = named.split_once("remaining(")
            && let Some((_, tail)) = rest.split_once("s)")
        {
            named = format!("{head}remaining(<time>){tail}");
        }
        match named.split_once("took = ") {
            Some((head, _)) => format!("{head}took = <time>"),
            None => named,
        }
    }

    fn json(&self, text: &str) -> String {
        let lines = text.lines().map(|line| match serde_json::from_str::<Value>(line) {
            Ok(mut value) => {
                mask(&mut value);
                self.text(&format!("{value:#}"))
            }
            Err(_) => self.text(line),
        });
        lines.collect::<Vec<_>>().join("\n")
    }

    fn fields(&self, command: &Command, text: &str) -> String {
        // A key has a version, too.
        let is_status = command.starts_with(&["endpoint"]);
        let is_time = command.starts_with(&["lease", "timetolive"]);
        let lines = text.lines().map(|line| {
            let Some((name, _)) = line.split_once(" : ") else { return self.text(line) };
            let bare = name.trim_matches('"');
            let masked = MASKED_FIELDS.contains(&bare)
                || is_status && bare == "Version"
                || is_time && bare == "TTL";
            if masked { format!("{name} : <masked>") } else { self.text(line) }
        });
        lines.collect::<Vec<_>>().join("\n")
    }

    /// Lines of cells, with commas or as a table; other lines stay as they are.
    fn cells(&self, command: &Command, text: &str) -> String {
        // Columns of `endpoint status`: endpoint, id, version, size, leader, learner, term, index,
        // applied index, errors. Rulers and padding depend on the widths of the cells.
        let masked: &[usize] = match () {
            () if command.starts_with(&["endpoint", "status"]) => &[1, 2, 3, 6, 7, 8],
            () if command.starts_with(&["endpoint", "hashkv"]) => &[1],
            () if command.starts_with(&["endpoint", "health"]) => &[2],
            () if command.starts_with(&["member", "list"]) => &[0],
            () => return self.text(text),
        };
        let lines = text.lines().filter(|line| !line.starts_with('+')).map(|line| {
            let cells: Vec<&str> = match line.trim().strip_prefix('|') {
                Some(row) => row.trim_end_matches('|').split('|').map(str::trim).collect(),
                None => line.split(", ").collect(),
            };
            let upper = |cell: &&str| **cell == cell.to_uppercase();
            let is_heading =
                cells.iter().all(|cell| upper(cell) && cell.contains(char::is_alphabetic));
            let cell = |(column, cell): (usize, &&str)| {
                let hidden = masked.contains(&column) && !is_heading && !cell.is_empty();
                if hidden { "<masked>".to_owned() } else { self.text(cell) }
            };
            cells.iter().enumerate().map(cell).collect::<Vec<_>>().join(" | ")
        });
        lines.collect::<Vec<_>>().join("\n")
    }
}

fn mask(value: &mut Value) {
    match value {
        Value::Object(map) => {
            for (name, value) in map.iter_mut() {
                if MASKED.contains(&name.as_str()) || name == "version" && value.is_string() {
                    *value = Value::from("<masked>");
                } else {
                    mask(value);
                }
            }
        }
        Value::Array(list) => list.iter_mut().for_each(mask),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// `-w protobuf` writes the response as it came.
fn protobuf(command: &Command, stdout: &[u8]) -> String {
    fn show<M: Message + Default + std::fmt::Debug>(
        bytes: &[u8],
        header: fn(&mut M) -> &mut Option<ResponseHeader>,
    ) -> String {
        let Ok(mut message) = M::decode(bytes) else { return format!("not decodable: {bytes:?}") };
        if let Some(header) = header(&mut message) {
            (header.cluster_id, header.member_id, header.raft_term) = (0, 0, 0);
        }
        format!("{message:?}")
    }
    match command.args.first().map(String::as_str) {
        Some("get") => show(stdout, |m: &mut RangeResponse| &mut m.header),
        Some("put") => show(stdout, |m: &mut PutResponse| &mut m.header),
        Some("del") => show(stdout, |m: &mut DeleteRangeResponse| &mut m.header),
        Some("txn") => show(stdout, |m: &mut TxnResponse| &mut m.header),
        Some("compaction") => show(stdout, |m: &mut CompactionResponse| &mut m.header),
        Some("status") => show(stdout, |m: &mut StatusResponse| &mut m.header),
        other => panic!("no message is known for {other:?} in protobuf"),
    }
}
