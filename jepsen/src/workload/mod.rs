//! The load: clients that ask and record what they were told.
//!
//! A [`Session`] is one client's connection to one member. A [`Workload`] makes up its requests:
//! registers, a set, and transactions over lists. [`drive`] runs many clients at a pace, and
//! [`last_words`] asks everything once more when all faults are over.

mod append;
mod client;
mod convert;
mod drive;
mod kind;
mod last;
mod register;
mod session;
mod set;

pub use append::{elements, list_key_group};
pub use client::Client;
pub use drive::{Load, drive};
pub use kind::Workload;
pub use last::last_words;
pub use session::{Deadlines, Session};

/// The beginning of all keys that the harness uses.
pub const ROOT: &str = "j/";
/// The beginning of registers.
pub const REGISTERS: &str = "j/r/";
/// The beginning of a set's elements, one key each: `j/s/GENERATION/ELEMENT`.
pub const ELEMENTS: &str = "j/s/";
/// The beginning of sets that are one list in one key.
pub const PACKED: &str = "j/p/";
/// The beginning of lists that transactions append to.
pub const LISTS: &str = "j/a/";
/// The beginning of keys by which members show at the end that they have recovered.
pub const BARRIERS: &str = "j/z/";
