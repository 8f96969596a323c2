//! What tests of the store and of its users stand on: a seeded source of chance, generators of
//! commands, a reference model to hold every answer against, and the search for the smallest
//! sequence that still fails. Behind the feature `testing`; it knows nothing of how the store works.

pub mod generate;
pub mod hostile;
pub mod model;
pub mod rng;
pub mod shrink;
