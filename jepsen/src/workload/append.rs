//! Lists: transactions that read some and append to some, as one.
//!
//! etcd has no transaction that reads and then decides, so a client reads first and makes its
//! writes depend on nothing having changed since (the mod revision of every list it touches). A
//! list is its elements in one value; the elements that one transaction appends share a name.

use super::LISTS;
use super::client::Client;
use crate::history::{Action, Answer, Compare, Kv, RangeRequest, Request, Target};

/// Lists of a group; a transaction touches one to all of them.
const LISTS_OF_GROUP: usize = 3;

/// The elements of a list.
pub fn elements(value: &str) -> impl Iterator<Item = &str> {
    value.split(' ').filter(|element| !element.is_empty())
}

/// The group that a list belongs to: transactions never cross groups.
pub fn list_key_group(key: &str) -> Option<&str> {
    key.strip_prefix(LISTS)?.split('/').next()
}

impl Client {
    pub(super) async fn append_step(&mut self) -> bool {
        let only_reads = self.random.percent(35);
        let group = self.shared.group(!only_reads);
        let mut lists: Vec<String> =
            (0..LISTS_OF_GROUP).map(|n| format!("{LISTS}{group:05}/{n}")).collect();
        self.random.shuffle(&mut lists);
        lists.truncate(1 + self.random.index(LISTS_OF_GROUP));
        let ranges = || lists.iter().map(|list| Action::Range(RangeRequest::one(list)));
        let read =
            Request::Txn { compares: Vec::new(), success: ranges().collect(), failure: Vec::new() };
        let Some(answer) = self.ask(read).await else { return false };
        let Some(response) = answer else { return true };
        let Answer::Txn { answers, .. } = response.answer else { return true };
        if only_reads {
            return true;
        }
        let request = self.append_to(&lists, &answers);
        self.ask(request).await.is_some()
    }

    fn append_to(&mut self, lists: &[String], read: &[Answer]) -> Request {
        let name = self.unique();
        let (mut compares, mut success) = (Vec::new(), Vec::new());
        for (index, (list, answer)) in lists.iter().zip(read).enumerate() {
            let kvs = answer.kvs();
            let now: Option<&Kv> = kvs.first().copied();
            let modified = now.map_or(0, |kv| kv.modified);
            compares.push(Compare { key: list.clone(), target: Target::Modified(modified) });
            // The first list is always appended to, so that the transaction writes something.
            if index > 0 && self.random.percent(40) {
                success.push(Action::Range(RangeRequest::one(list)));
                continue;
            }
            let mut value = now.map_or_else(String::new, |kv| format!("{} ", kv.value));
            value.push_str(&format!("{name}.{index}a"));
            if self.random.percent(20) {
                value.push_str(&format!(" {name}.{index}b"));
            }
            success.push(Action::Put { key: list.clone(), value });
        }
        Request::Txn { compares, success, failure: Vec::new() }
    }
}
