//! How our errors travel: the one table from what went wrong inside to etcd's codes and texts.

use keelson_api::errors::Error as Etcd;
use keelson_store::response::Rejection;
use keelson_store::{ReadError, validate};
use tonic::Status;

use crate::lease::AskError;
use crate::raft::{BarrierError, ChangeError, MoveError, ProposeError};

pub(super) fn rejected(rejection: Rejection) -> Status {
    let error = match rejection {
        Rejection::EmptyKey => Etcd::EmptyKey,
        Rejection::KeyNotFound => Etcd::KeyNotFound,
        Rejection::LeaseNotFound => Etcd::LeaseNotFound,
        Rejection::LeaseExists => Etcd::LeaseExist,
        Rejection::StaleTerm => Etcd::NotPrimaryLessor,
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

/// `leader_lost` says that the leader was lost while the request waited.
pub(super) fn not_proposed(error: ProposeError, leader_lost: bool) -> Status {
    let error = match error {
        ProposeError::TooManyRequests => Etcd::RequestTooManyRequests,
        ProposeError::Timeout if leader_lost => Etcd::TimeoutDueToLeaderFail,
        ProposeError::Timeout => Etcd::Timeout,
        ProposeError::Stopped => Etcd::Stopped,
    };
    error.status()
}

pub(super) fn not_current(error: BarrierError) -> Status {
    let error = match error {
        BarrierError::Timeout => Etcd::Timeout,
        BarrierError::Stopped => Etcd::Stopped,
    };
    error.status()
}

pub(super) fn not_asked(error: AskError) -> Status {
    let error = match error {
        AskError::TooManyRequests => Etcd::RequestTooManyRequests,
        AskError::Timeout => Etcd::Timeout,
        AskError::Stopped => Etcd::Stopped,
    };
    error.status()
}

pub(super) fn not_moved(error: MoveError) -> Status {
    let error = match error {
        MoveError::NotLeader => Etcd::NotLeader,
        MoveError::BadTransferee => Etcd::BadLeaderTransferee,
        MoveError::Timeout => Etcd::TimeoutLeaderTransfer,
    };
    error.status()
}

pub(super) fn not_changed(error: ChangeError) -> Status {
    let error = match error {
        ChangeError::MemberExists => Etcd::MemberExist,
        ChangeError::PeerUrlExists => Etcd::PeerURLExist,
        ChangeError::NotFound => Etcd::MemberNotFound,
        ChangeError::NotLearner => Etcd::MemberNotLearner,
        ChangeError::LearnerNotReady => Etcd::LearnerNotReady,
        ChangeError::TooManyLearners => Etcd::TooManyLearners,
        ChangeError::NotEnoughStarted => Etcd::MemberNotEnoughStarted,
        ChangeError::Unhealthy => Etcd::Unhealthy,
        ChangeError::NoClusterVersion => Etcd::ClusterVersionUnavailable,
        ChangeError::BadDowngradeTarget => Etcd::InvalidDowngradeTargetVersion,
        ChangeError::DowngradeRuns => Etcd::DowngradeInProcess,
        ChangeError::NoDowngrade => Etcd::NoInflightDowngrade,
        ChangeError::Timeout => Etcd::Timeout,
        ChangeError::Stopped => Etcd::Stopped,
    };
    error.status()
}
