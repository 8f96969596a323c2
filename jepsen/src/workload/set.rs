//! Sets: elements are added once and never removed; a read must show all that were added before.

use super::client::Client;
use super::{ELEMENTS, PACKED};
use crate::history::{Action, Compare, RangeRequest, Request, Target};

impl Client {
    pub(super) async fn set_step(&mut self) -> bool {
        match self.random.below(100) {
            0..60 => {
                let (set, element) = (self.shared.set_for_add(), self.unique());
                self.ask(Request::put(format!("{ELEMENTS}{set:06}/{element}"), element)).await
            }
            60..75 => {
                let range = RangeRequest::prefix(&format!("{ELEMENTS}{:06}/", self.shared.set()));
                self.ask(Request::range(range)).await
            }
            75..80 => {
                let range = RangeRequest::prefix(&format!("{ELEMENTS}{:06}/", self.shared.set()));
                self.ask(Request::range(RangeRequest { serializable: true, ..range })).await
            }
            _ => return self.add_packed().await,
        }
        .is_some()
    }

    /// Reads a set that is one list in one key, and writes it back with one more element if nobody
    /// was quicker. A server or client that repeats such a write by itself duplicates elements.
    async fn add_packed(&mut self) -> bool {
        let key = format!("{PACKED}{:06}", self.shared.set());
        let element = self.unique();
        let Some(read) = self.ask(Request::range(RangeRequest::one(&key))).await else {
            return false;
        };
        let Some(read) = read else { return true };
        let (list, modified) = match read.answer.kvs().first() {
            Some(kv) => (format!("{} {element}", kv.value), kv.modified),
            None => (element, 0),
        };
        let swap = Request::Txn {
            compares: vec![Compare { key: key.clone(), target: Target::Modified(modified) }],
            success: vec![Action::Put { key: key.clone(), value: list }],
            failure: vec![Action::Range(RangeRequest::one(&key))],
        };
        self.ask(swap).await.is_some()
    }
}
