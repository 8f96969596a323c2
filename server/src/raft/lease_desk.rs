//! Who keeps the time of leases, as far as Raft needs to know.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use keelson_store::LeaseChange;

/// Hears what becomes of leases, and answers what other members ask about them.
pub trait LeaseDesk: Send + Sync {
    /// What a batch has done to leases; it is applied and can be read. Called before anybody is
    /// told, so that who was granted a lease can renew it.
    fn applied(&self, changes: &[LeaseChange]);

    /// Answers another member; nothing if what it asks does not read.
    fn answer(self: Arc<Self>, body: Bytes) -> BoxFuture<'static, Option<Bytes>>;
}
