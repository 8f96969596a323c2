//! What a member tells about itself: log lines and metrics. Neither may ever slow a request down.

pub mod log;
pub mod metrics;
