//! Registers: a few keys that everybody reads and writes.

use super::REGISTERS;
use super::client::Client;
use crate::history::{Action, Answer, Compare, RangeRequest, Request, Target};

/// Few keys, so that clients meet.
const KEYS: u64 = 10;

impl Client {
    pub(super) async fn register_step(&mut self) -> bool {
        let key = format!("{REGISTERS}{}", self.random.below(KEYS));
        let request = match self.random.below(100) {
            0..35 => Request::range(RangeRequest::one(&key)),
            35..45 => {
                Request::range(RangeRequest { serializable: true, ..RangeRequest::one(&key) })
            }
            45..70 => Request::put(key.clone(), self.unique()),
            70..73 => Request::delete(key.clone()),
            _ => self.swap(&key),
        };
        let serializable = request.is_serializable();
        let Some(answer) = self.ask(request.clone()).await else { return false };
        match answer {
            Some(response) if !serializable => {
                self.learn(&key, &request, &response.answer, response.header.revision);
            }
            Some(_) => {}
            // Whatever it knew may be wrong now; the next swap would fail for no good reason.
            None => {
                self.known.remove(&key);
            }
        }
        true
    }

    /// Writes if the register is still as this client saw it last, else reads it.
    fn swap(&mut self, key: &str) -> Request {
        let target = match self.known.get(key) {
            Some(Some((value, _))) if self.random.percent(50) => Target::Value(value.clone()),
            Some(Some((_, modified))) => Target::Modified(*modified),
            Some(None) | None => Target::Modified(0),
        };
        let value = self.unique();
        Request::Txn {
            compares: vec![Compare { key: key.to_owned(), target }],
            success: vec![Action::Put { key: key.to_owned(), value }],
            failure: vec![Action::Range(RangeRequest::one(key))],
        }
    }

    fn learn(&mut self, key: &str, request: &Request, answer: &Answer, revision: i64) {
        let put = request.actions().find_map(|action| match action {
            Action::Put { value, .. } => Some((value.clone(), revision)),
            Action::Range(_) | Action::Delete { .. } => None,
        });
        let read = |answer: &Answer| answer.kvs().first().map(|kv| (kv.value.clone(), kv.modified));
        let state = match answer {
            Answer::Range { .. } | Answer::Txn { succeeded: false, .. } => read(answer),
            Answer::Put { .. } | Answer::Txn { succeeded: true, .. } => put,
            Answer::Delete { .. } => None,
        };
        self.known.insert(key.to_owned(), state);
    }
}
