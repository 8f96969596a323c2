//! How long writes stop when the leader goes: an open-loop load of writes, the leader killed (or
//! stopped, told to end, cut off, asked to hand over), and the longest time between two
//! acknowledged writes around it.

mod load;
mod measure;
mod method;
mod report;

pub use load::{End, Load, Sample};
pub use measure::{Settings, measure};
pub use method::Method;
pub use report::{Distribution, FailoverReport, Round};
