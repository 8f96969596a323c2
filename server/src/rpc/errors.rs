//! How our errors travel: the one table from what went wrong inside to etcd's codes and texts.

use keelson_api::errors::Error as Etcd;
use keelson_store::response::Rejection;
use keelson_store::{ReadError, validate};
use tonic::Status;

use crate::raft::{BarrierError, ProposeError};

pub(super) fn rejected(rejection: Rejection) -> Status {
    let error = match rejection {
        Rejection::EmptyKey => Etcd::EmptyKey,
        Rejection::KeyNotFound => Etcd::KeyNotFound,
        Rejection::LeaseNotFound => Etcd::LeaseNotFound,
        Rejection::Compacted => Etcd::Compacted,
        Rejection::FutureRevision => Etcd::FutureRev,
    };
    error.status()
}

pub(super) fn invalid(invalid: validate::Invalid) -> Status {
    let error = match invalid {
        validate::Invalid::EmptyKey => Etcd::EmptyKey,
        validate::Invalid::ValueProvided => Etcd::ValueProvided,
        validate::Invalid::LeaseProvided => Etcd::LeaseProvided,
        validate::Invalid::TooManyOps => Etcd::TooManyOps,
        validate::Invalid::DuplicateKey => Etcd::DuplicateKey,
    };
    error.status()
}

pub(super) fn not_read(error: &ReadError) -> Status {
    match error {
        ReadError::Compacted => Etcd::Compacted.status(),
        ReadError::FutureRevision => Etcd::FutureRev.status(),
        ReadError::Store(error) => {
            tracing::error!(%error, "a read failed in the store");
            Status::data_loss(format!("keelson: the store could not be read: {error}"))
        }
    }
}

pub(super) fn not_proposed(error: ProposeError) -> Status {
    let error = match error {
        ProposeError::TooManyRequests => Etcd::RequestTooManyRequests,
        ProposeError::NoLeader => Etcd::NoLeader,
        ProposeError::Timeout => Etcd::Timeout,
        ProposeError::Stopped => Etcd::Stopped,
    };
    error.status()
}

pub(super) fn not_current(error: BarrierError) -> Status {
    let error = match error {
        BarrierError::NoLeader => Etcd::NoLeader,
        BarrierError::Timeout => Etcd::Timeout,
        BarrierError::Stopped => Etcd::Stopped,
    };
    error.status()
}
