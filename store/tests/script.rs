//! Scenarios with golden output: commands and reads in `scripts/*.txt`, what the store answers
//! below each. Run on every engine, which must answer the same. `UPDATE_SCRIPTS=1` rewrites the
//! files with what memory answers.
//!
//! ```text
//! put KEY VALUE [lease=N] [prev] [ignore_value] [ignore_lease]
//! del KEY [END] [prev]                      END of * is "from KEY on"
//! get KEY [END] [rev=N] [limit=N] [by=TARGET] [asc|desc] [keys] [count] [minmod=N] …
//! txn                                       lines below it: if / then / else
//!  if KEY[..END] version|create|mod|value|lease =|!|<|> OPERAND
//!  then put … / get … / del … / txn … end
//! grant ID TTL  revoke ID     expire ID term=N granted=N     checkpoint ID TTL granted=N
//! leases                                    all of them, with their keys
//! compact N     hash [N]     physical       flush, crash, reopen: and replay
//! ```
#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

mod common;

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use common::{Member, bytes, key_range};
use keelson_store::command::{
    Command, Compact, Compare, CompareResult, CompareTarget, DeleteRange, Expiry, KeyRange,
    LeaseCheckpoint, LeaseGrant, LeaseRevoke, Op, Put, Range, Remaining, SortOrder, SortTarget,
    Txn,
};
use keelson_store::engine::{Engine, MemoryEngine, RocksEngine, RocksOptions};
use keelson_store::response::{OpResponse, Outcome, Response};
use keelson_store::types::{KeyValue, LeaseId, LogIndex, Revision, Term};
use keelson_store::{Lease, LogEntry, ReadError};

/// Runs the commands of one script.
struct Runner {
    member: Member,
    engine: EngineKind,
    log: Vec<LogEntry>,
}

enum EngineKind {
    Memory(Arc<MemoryEngine>),
    Rocks(PathBuf),
}

impl Runner {
    fn in_memory() -> Self {
        let (member, engine) = Member::in_memory();
        Self { member, engine: EngineKind::Memory(engine), log: Vec::new() }
    }

    fn on_rocks(dir: &Path) -> Self {
        let member = Member::open(rocks(dir));
        Self { member, engine: EngineKind::Rocks(dir.into()), log: Vec::new() }
    }

    fn run(mut self, script: &str) -> String {
        let mut out = String::new();
        for block in script.split("\n\n").filter(|block| !block.trim().is_empty()) {
            let input: Vec<_> = block.lines().take_while(|line| *line != "----").collect();
            let commands: Vec<_> = input.iter().filter(|line| !line.starts_with('#')).collect();
            for line in &input {
                writeln!(out, "{line}").unwrap();
            }
            if commands.is_empty() {
                out.push('\n');
                continue;
            }
            out.push_str("----\n");
            for command in join_continued(&commands) {
                self.line(&command, &mut out);
            }
            out.push('\n');
        }
        out
    }

    fn line(&mut self, line: &str, out: &mut String) {
        let words: Vec<_> = line.split_whitespace().collect();
        match words[0] {
            "get" => self.get(&words, out),
            "hash" => self.hash(&words, out),
            "leases" => self.leases(out),
            "physical" => {
                let progress = self.member.store.physical_compaction_step().unwrap();
                writeln!(out, "removed to {}", progress.done.0).unwrap();
            }
            "flush" => self.member.store.flush().unwrap(),
            "crash" => self.crash(out),
            _ => {
                let command = command(&words);
                let entry = common::entry_after(self.member.applier.applied(), &[command]);
                self.log.push(entry.clone());
                let outcomes = self.member.applier.apply(&[entry]).unwrap();
                show_outcome(&outcomes[0][0], out);
            }
        }
    }

    fn get(&self, words: &[&str], out: &mut String) {
        let mut shown = String::new();
        let answer = self.member.store.view().range(&range(words), &mut |row| {
            show_row(&row.to_owned(), "", &mut shown);
            std::ops::ControlFlow::Continue(())
        });
        match answer {
            Ok(summary) => {
                let more = if summary.more { " more" } else { "" };
                writeln!(out, "{shown}count {}{more}", summary.count).unwrap();
            }
            Err(error) => writeln!(out, "{error}").unwrap(),
        }
    }

    fn leases(&self, out: &mut String) {
        for (Lease { id, ttl, remaining, granted }, keys) in self.member.leases() {
            let (id, granted) = (id.0, granted.0);
            write!(out, "{id} ttl {ttl} remaining {remaining} granted {granted}:").unwrap();
            for key in keys {
                write!(out, " {}", key.escape_ascii()).unwrap();
            }
            writeln!(out).unwrap();
        }
    }

    /// Two hashes of one script are told apart by letter, not by value: what counts is which ones
    /// are equal.
    fn hash(&self, words: &[&str], out: &mut String) {
        let revision = words.get(1).map_or(0, |word| word.parse().unwrap());
        match self.member.store.view().hash_kv(Revision(revision)) {
            Ok(hash) => writeln!(
                out,
                "hash {:08x} at {} compacted {}",
                hash.hash, hash.revision.0, hash.compacted.0
            ),
            Err(error @ (ReadError::Compacted | ReadError::FutureRevision)) => {
                writeln!(out, "{error}")
            }
            Err(error) => panic!("{error}"),
        }
        .unwrap();
    }

    /// Loses what was not flushed, then replays the log.
    fn crash(&mut self, out: &mut String) {
        if let EngineKind::Memory(engine) = &mut self.engine {
            *engine = Arc::new(engine.crash());
            self.member = Member::open(Arc::clone(engine) as Arc<dyn Engine>);
        } else if let EngineKind::Rocks(dir) = &self.engine {
            let dir = dir.clone();
            let (unused, _) = Member::in_memory();
            drop(std::mem::replace(&mut self.member, unused));
            self.member = Member::open(rocks(&dir));
        }
        self.member.applier.apply(&self.log).unwrap();
        writeln!(out, "replayed to revision {}", self.member.revision()).unwrap();
    }
}

fn rocks(dir: &Path) -> Arc<dyn Engine> {
    let small = RocksOptions { memtable_bytes: 4 << 20, block_cache_bytes: 4 << 20 };
    Arc::new(RocksEngine::open(dir, &small).unwrap())
}

/// Lines that start with a space belong to the command above them.
fn join_continued(lines: &[&&str]) -> Vec<String> {
    let mut joined: Vec<String> = Vec::new();
    for line in lines {
        match joined.last_mut() {
            Some(last) if line.starts_with(' ') => last.push_str(line),
            _ => joined.push((**line).to_owned()),
        }
    }
    joined
}

fn command(words: &[&str]) -> Command {
    let id = || LeaseId(words[1].parse().unwrap());
    let granted = || LogIndex(named(words, "granted="));
    match words[0] {
        "put" => Command::Put(put(words)),
        "del" => Command::DeleteRange(delete(words)),
        "txn" => Command::Txn(txn(&mut words[1..].iter().copied().peekable())),
        "grant" => Command::LeaseGrant(LeaseGrant { id: id(), ttl: words[2].parse().unwrap() }),
        "revoke" => Command::LeaseRevoke(LeaseRevoke { id: id(), expiry: None }),
        "expire" => {
            let expiry = Expiry { term: Term(named(words, "term=")), granted: granted() };
            Command::LeaseRevoke(LeaseRevoke { id: id(), expiry: Some(expiry) })
        }
        "checkpoint" => {
            let ttl = words[2].parse().unwrap();
            let leases = vec![Remaining { id: id(), granted: granted(), ttl }];
            Command::LeaseCheckpoint(LeaseCheckpoint { term: Term(1), leases })
        }
        "compact" => Command::Compact(Compact { revision: Revision(words[1].parse().unwrap()) }),
        other => panic!("no command {other}"),
    }
}

fn named(words: &[&str], name: &str) -> u64 {
    words.iter().find_map(|word| word.strip_prefix(name)).unwrap().parse().unwrap()
}

fn end_of(word: &str) -> &str {
    if word == "*" { "\0" } else { word }
}

fn put(words: &[&str]) -> Put {
    let mut put = Put { key: bytes(words[1]), value: bytes(words[2]), ..Put::default() };
    for word in &words[3..] {
        match word.split_once('=') {
            Some(("lease", id)) => put.lease = LeaseId(id.parse().unwrap()),
            None if *word == "prev" => put.prev_kv = true,
            None if *word == "ignore_value" => {
                put.ignore_value = true;
                put.value = bytes("");
            }
            None if *word == "ignore_lease" => put.ignore_lease = true,
            _ => panic!("no option {word} of put"),
        }
    }
    put
}

fn delete(words: &[&str]) -> DeleteRange {
    let prev_kv = words.contains(&"prev");
    let end = words.get(2).filter(|word| **word != "prev").map_or("", |word| end_of(word));
    DeleteRange { range: key_range(words[1], end), prev_kv }
}

fn range(words: &[&str]) -> Range {
    let mut range = Range { range: key_range(words[1], ""), ..Range::default() };
    for word in &words[2..] {
        let revision = |number: &str| Revision(number.parse().unwrap());
        match word.split_once('=') {
            Some(("rev", number)) => range.revision = revision(number),
            Some(("limit", number)) => range.limit = number.parse().unwrap(),
            Some(("minmod", number)) => range.min_mod_revision = revision(number),
            Some(("maxmod", number)) => range.max_mod_revision = revision(number),
            Some(("mincreate", number)) => range.min_create_revision = revision(number),
            Some(("maxcreate", number)) => range.max_create_revision = revision(number),
            Some(("by", target)) => {
                range.sort_target = match target {
                    "key" => SortTarget::Key,
                    "version" => SortTarget::Version,
                    "create" => SortTarget::Create,
                    "mod" => SortTarget::Mod,
                    "value" => SortTarget::Value,
                    other => panic!("no sort target {other}"),
                }
            }
            None if *word == "asc" => range.sort_order = SortOrder::Ascend,
            None if *word == "desc" => range.sort_order = SortOrder::Descend,
            None if *word == "keys" => range.keys_only = true,
            None if *word == "count" => range.count_only = true,
            None => range.range.end = bytes(end_of(word)),
            _ => panic!("no option {word} of get"),
        }
    }
    range
}

type Words<'a, 'b> = std::iter::Peekable<std::iter::Copied<std::slice::Iter<'b, &'a str>>>;

/// `if …`, `then OP` and `else OP`, until the words or the nested txn end.
fn txn(words: &mut Words<'_, '_>) -> Txn {
    let mut txn = Txn::default();
    while let Some(word) = words.next() {
        match word {
            "if" => txn.compare.push(compare(words)),
            "then" => txn.success.push(op(words)),
            "else" => txn.failure.push(op(words)),
            "end" => break,
            other => panic!("no part {other} of txn"),
        }
    }
    txn
}

fn op(words: &mut Words<'_, '_>) -> Op {
    if words.peek() == Some(&"txn") {
        words.next();
        return Op::Txn(txn(words));
    }
    let mut own = Vec::new();
    while words.peek().is_some_and(|word| !["if", "then", "else", "end"].contains(word)) {
        own.push(words.next().unwrap());
    }
    match own[0] {
        "put" => Op::Put(put(&own)),
        "del" => Op::DeleteRange(delete(&own)),
        "get" => Op::Range(range(&own)),
        other => panic!("no operation {other}"),
    }
}

fn compare(words: &mut Words<'_, '_>) -> Compare {
    let mut next = || words.next().unwrap();
    let (key, target, result, operand) = (next(), next(), next(), next());
    let (key, end) = key.split_once("..").unwrap_or((key, ""));
    let number = || operand.parse().unwrap();
    let target = match target {
        "version" => CompareTarget::Version(number()),
        "create" => CompareTarget::Create(Revision(number())),
        "mod" => CompareTarget::Mod(Revision(number())),
        "lease" => CompareTarget::Lease(LeaseId(number())),
        "value" => CompareTarget::Value(bytes(operand)),
        other => panic!("no compare target {other}"),
    };
    let result = match result {
        "=" => CompareResult::Equal,
        "!" => CompareResult::NotEqual,
        "<" => CompareResult::Less,
        ">" => CompareResult::Greater,
        other => panic!("no compare result {other}"),
    };
    let range = KeyRange { key: bytes(key), end: bytes(end_of(end)) };
    Compare { range, result, target }
}

fn show_outcome(outcome: &Outcome, out: &mut String) {
    match outcome {
        Ok(Response::Put(put)) => show_op(&OpResponse::Put(put.clone()), "", out),
        Ok(Response::DeleteRange(delete)) => {
            show_op(&OpResponse::DeleteRange(delete.clone()), "", out);
        }
        Ok(Response::Txn(txn)) => show_op(&OpResponse::Txn(txn.clone()), "", out),
        Ok(Response::Compact(compact)) => writeln!(out, "ok {}", compact.revision.0).unwrap(),
        Ok(Response::LeaseGrant(grant)) => writeln!(out, "ok {}", grant.revision.0).unwrap(),
        Ok(Response::LeaseRevoke(revoke)) => {
            writeln!(out, "ok {} deleted {}", revoke.revision.0, revoke.deleted).unwrap();
        }
        Ok(Response::LeaseCheckpoint(done)) => writeln!(out, "ok {}", done.revision.0).unwrap(),
        Err(rejection) => writeln!(out, "{rejection}").unwrap(),
    }
}

fn show_op(response: &OpResponse, indent: &str, out: &mut String) {
    let deeper = format!("{indent}  ");
    match response {
        OpResponse::Put(put) => {
            writeln!(out, "{indent}ok {}", put.revision.0).unwrap();
            if let Some(prev) = &put.prev_kv {
                show_row(prev, &deeper, out);
            }
        }
        OpResponse::DeleteRange(delete) => {
            writeln!(out, "{indent}ok {} deleted {}", delete.revision.0, delete.deleted).unwrap();
            for prev in &delete.prev_kvs {
                show_row(prev, &deeper, out);
            }
        }
        OpResponse::Range(range) => {
            let more = if range.more { " more" } else { "" };
            writeln!(out, "{indent}ok {} count {}{more}", range.revision.0, range.count).unwrap();
            for row in &range.kvs {
                show_row(row, &deeper, out);
            }
        }
        OpResponse::Txn(txn) => {
            let branch = if txn.succeeded { "then" } else { "else" };
            writeln!(out, "{indent}ok {} {branch}", txn.revision.0).unwrap();
            for response in &txn.responses {
                show_op(response, &deeper, out);
            }
        }
    }
}

fn show_row(row: &KeyValue, indent: &str, out: &mut String) {
    let KeyValue { key, value, create_revision, mod_revision, version, lease } = row;
    let (key, value) = (key.escape_ascii(), value.escape_ascii());
    let (create, at) = (create_revision.0, mod_revision.0);
    let lease = if lease.0 == 0 { String::new() } else { format!(" lease {}", lease.0) };
    writeln!(out, "{indent}{key}={value} v{version} [{create}..{at}]{lease}").unwrap();
}

#[test]
fn scripts_answer_as_recorded() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts");
    let mut files: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 5, "the scripts are there");
    for file in files {
        let recorded = std::fs::read_to_string(&file).unwrap();
        let in_memory = Runner::in_memory().run(&recorded);
        let dir = tempfile::tempdir().unwrap();
        let on_rocks = Runner::on_rocks(dir.path()).run(&recorded);
        assert_eq!(on_rocks, in_memory, "engines differ on {}", file.display());
        if std::env::var_os("UPDATE_SCRIPTS").is_some() {
            std::fs::write(&file, in_memory.trim_end().to_owned() + "\n").unwrap();
        } else {
            assert_eq!(in_memory.trim_end(), recorded.trim_end(), "{}", file.display());
        }
    }
}
