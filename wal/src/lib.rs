//! Keelson's segmented, checksummed, group-committed log.
