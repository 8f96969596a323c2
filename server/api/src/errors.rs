//! Every error that etcd's clients know: constant, gRPC code, text, in one table.
//!
//! Clients tell errors apart by code *and* text, so both are part of the contract.

use tonic::{Code, Status};

/// Reasons to cancel a watch that travel in `WatchResponse.cancel_reason`, not as a status.
pub mod cancel_reason {
    /// The interval of the watcher holds no key.
    pub const EMPTY_RANGE: &str = "mvcc: watcher range is empty";
    /// The client chose an id that is in use on its stream.
    pub const DUPLICATE_WATCH_ID: &str = "mvcc: duplicate watch ID provided on the WatchStream";
}

macro_rules! errors {
    ($($variant:ident = $code:ident, $name:literal, $text:literal;)*) => {
        /// An error of etcd's API. The variants are named after etcd's constants, without the
        /// common prefix.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Error {
            $(#[doc = $text] $variant,)*
        }

        impl Error {
            /// All errors, in the order of the table.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// etcd's name for the error.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// The gRPC code on the wire.
            pub const fn code(self) -> Code {
                match self { $(Self::$variant => Code::$code,)* }
            }

            /// The exact text on the wire.
            pub const fn text(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }
    };
}

// Two codes differ from what etcd declares. RequestTooManyRequests is declared as
// ResourceExhausted and MemberNotEnoughStarted as FailedPrecondition, but etcd's servers send both
// as Unknown, and that is what clients have seen since the beginning.
errors! {
    EmptyKey = InvalidArgument, "ErrGRPCEmptyKey", "etcdserver: key is not provided";
    KeyNotFound = InvalidArgument, "ErrGRPCKeyNotFound", "etcdserver: key not found";
    ValueProvided = InvalidArgument, "ErrGRPCValueProvided", "etcdserver: value is provided";
    LeaseProvided = InvalidArgument, "ErrGRPCLeaseProvided", "etcdserver: lease is provided";
    TooManyOps = InvalidArgument, "ErrGRPCTooManyOps", "etcdserver: too many operations in txn request";
    DuplicateKey = InvalidArgument, "ErrGRPCDuplicateKey", "etcdserver: duplicate key given in txn request";
    InvalidClientAPIVersion = InvalidArgument, "ErrGRPCInvalidClientAPIVersion", "etcdserver: invalid client api version";
    InvalidSortOption = InvalidArgument, "ErrGRPCInvalidSortOption", "etcdserver: invalid sort option";
    Compacted = OutOfRange, "ErrGRPCCompacted", "etcdserver: mvcc: required revision has been compacted";
    FutureRev = OutOfRange, "ErrGRPCFutureRev", "etcdserver: mvcc: required revision is a future revision";
    NoSpace = ResourceExhausted, "ErrGRPCNoSpace", "etcdserver: mvcc: database space exceeded";
    LeaseNotFound = NotFound, "ErrGRPCLeaseNotFound", "etcdserver: requested lease not found";
    LeaseExist = FailedPrecondition, "ErrGRPCLeaseExist", "etcdserver: lease already exists";
    LeaseTTLTooLarge = OutOfRange, "ErrGRPCLeaseTTLTooLarge", "etcdserver: too large lease TTL";
    WatchCanceled = Cancelled, "ErrGRPCWatchCanceled", "etcdserver: watch canceled";
    MemberExist = FailedPrecondition, "ErrGRPCMemberExist", "etcdserver: member ID already exist";
    PeerURLExist = FailedPrecondition, "ErrGRPCPeerURLExist", "etcdserver: Peer URLs already exists";
    MemberNotEnoughStarted = Unknown, "ErrGRPCMemberNotEnoughStarted", "etcdserver: re-configuration failed due to not enough started members";
    MemberBadURLs = InvalidArgument, "ErrGRPCMemberBadURLs", "etcdserver: given member URLs are invalid";
    MemberNotFound = NotFound, "ErrGRPCMemberNotFound", "etcdserver: member not found";
    MemberNotLearner = FailedPrecondition, "ErrGRPCMemberNotLearner", "etcdserver: can only promote a learner member";
    LearnerNotReady = FailedPrecondition, "ErrGRPCLearnerNotReady", "etcdserver: can only promote a learner member which is in sync with leader";
    TooManyLearners = FailedPrecondition, "ErrGRPCTooManyLearners", "etcdserver: too many learner members in cluster";
    ClusterIDMismatch = FailedPrecondition, "ErrGRPCClusterIDMismatch", "etcdserver: cluster ID mismatch";
    RequestTooLarge = InvalidArgument, "ErrGRPCRequestTooLarge", "etcdserver: request is too large";
    RequestTooManyRequests = Unknown, "ErrGRPCRequestTooManyRequests", "etcdserver: too many requests";
    RootUserNotExist = FailedPrecondition, "ErrGRPCRootUserNotExist", "etcdserver: root user does not exist";
    RootRoleNotExist = FailedPrecondition, "ErrGRPCRootRoleNotExist", "etcdserver: root user does not have root role";
    UserAlreadyExist = FailedPrecondition, "ErrGRPCUserAlreadyExist", "etcdserver: user name already exists";
    UserEmpty = InvalidArgument, "ErrGRPCUserEmpty", "etcdserver: user name is empty";
    UserNotFound = FailedPrecondition, "ErrGRPCUserNotFound", "etcdserver: user name not found";
    RoleAlreadyExist = FailedPrecondition, "ErrGRPCRoleAlreadyExist", "etcdserver: role name already exists";
    RoleNotFound = FailedPrecondition, "ErrGRPCRoleNotFound", "etcdserver: role name not found";
    RoleEmpty = InvalidArgument, "ErrGRPCRoleEmpty", "etcdserver: role name is empty";
    AuthFailed = InvalidArgument, "ErrGRPCAuthFailed", "etcdserver: authentication failed, invalid user ID or password";
    PermissionNotGiven = InvalidArgument, "ErrGRPCPermissionNotGiven", "etcdserver: permission not given";
    PermissionDenied = PermissionDenied, "ErrGRPCPermissionDenied", "etcdserver: permission denied";
    RoleNotGranted = FailedPrecondition, "ErrGRPCRoleNotGranted", "etcdserver: role is not granted to the user";
    PermissionNotGranted = FailedPrecondition, "ErrGRPCPermissionNotGranted", "etcdserver: permission is not granted to the role";
    AuthNotEnabled = FailedPrecondition, "ErrGRPCAuthNotEnabled", "etcdserver: authentication is not enabled";
    InvalidAuthToken = Unauthenticated, "ErrGRPCInvalidAuthToken", "etcdserver: invalid auth token";
    InvalidAuthMgmt = InvalidArgument, "ErrGRPCInvalidAuthMgmt", "etcdserver: invalid auth management";
    AuthOldRevision = InvalidArgument, "ErrGRPCAuthOldRevision", "etcdserver: revision of auth store is old";
    NoLeader = Unavailable, "ErrGRPCNoLeader", "etcdserver: no leader";
    NotLeader = FailedPrecondition, "ErrGRPCNotLeader", "etcdserver: not leader";
    LeaderChanged = Unavailable, "ErrGRPCLeaderChanged", "etcdserver: leader changed";
    NotCapable = FailedPrecondition, "ErrGRPCNotCapable", "etcdserver: not capable";
    Stopped = Unavailable, "ErrGRPCStopped", "etcdserver: server stopped";
    Timeout = Unavailable, "ErrGRPCTimeout", "etcdserver: request timed out";
    TimeoutDueToLeaderFail = Unavailable, "ErrGRPCTimeoutDueToLeaderFail", "etcdserver: request timed out, possibly due to previous leader failure";
    TimeoutDueToConnectionLost = Unavailable, "ErrGRPCTimeoutDueToConnectionLost", "etcdserver: request timed out, possibly due to connection lost";
    TimeoutWaitAppliedIndex = Unavailable, "ErrGRPCTimeoutWaitAppliedIndex", "etcdserver: request timed out, waiting for the applied index took too long";
    Unhealthy = Unavailable, "ErrGRPCUnhealthy", "etcdserver: unhealthy cluster";
    Corrupt = DataLoss, "ErrGRPCCorrupt", "etcdserver: corrupt cluster";
    NotSupportedForLearner = FailedPrecondition, "ErrGRPCNotSupportedForLearner", "etcdserver: rpc not supported for learner";
    BadLeaderTransferee = FailedPrecondition, "ErrGRPCBadLeaderTransferee", "etcdserver: bad leader transferee";
    WrongDowngradeVersionFormat = InvalidArgument, "ErrGRPCWrongDowngradeVersionFormat", "etcdserver: wrong downgrade target version format";
    InvalidDowngradeTargetVersion = InvalidArgument, "ErrGRPCInvalidDowngradeTargetVersion", "etcdserver: invalid downgrade target version";
    ClusterVersionUnavailable = FailedPrecondition, "ErrGRPCClusterVersionUnavailable", "etcdserver: cluster version not found during downgrade";
    DowngradeInProcess = FailedPrecondition, "ErrGRPCDowngradeInProcess", "etcdserver: cluster has a downgrade job in progress";
    NoInflightDowngrade = FailedPrecondition, "ErrGRPCNoInflightDowngrade", "etcdserver: no inflight downgrade job";
    Canceled = Cancelled, "ErrGRPCCanceled", "etcdserver: request canceled";
    DeadlineExceeded = DeadlineExceeded, "ErrGRPCDeadlineExceeded", "etcdserver: context deadline exceeded";
    TimeoutLeaderTransfer = Unknown, "ErrTimeoutLeaderTransfer", "etcdserver: request timed out, leader transfer took too long";
    UnknownMethod = Unknown, "ErrUnknownMethod", "etcdserver: unknown method";
    NotPrimaryLessor = Unknown, "ErrNotPrimary", "not a primary lessor";
    NoPasswordUser = Unknown, "ErrNoPasswordUser", "auth: authentication failed, password was given for no password user";
    ElectionNoLeader = Unknown, "ErrElectionNoLeader", "election: no leader";
    ElectionNotLeader = Unknown, "ErrElectionNotLeader", "election: not leader";
    SessionExpired = Unknown, "ErrSessionExpired", "mutex: session is expired";
    LeaderFieldMissing = Unknown, "ErrMissingLeaderKey", "\"leader\" field must be provided";
    RangeStreamSorted = Unimplemented, "RangeStream: sort order", "RangeStream does not support custom sort orders";
    RangeStreamFiltered = Unimplemented, "RangeStream: revision filters", "RangeStream does not support revision filters";
    ContextCanceled = Cancelled, "context.Canceled", "context canceled";
    ContextDeadlineExceeded = DeadlineExceeded, "context.DeadlineExceeded", "context deadline exceeded";
}

impl Error {
    /// The status that answers a request with this error.
    pub fn status(self) -> Status {
        Status::new(self.code(), self.text())
    }

    /// The error behind a status, if it is one of etcd's.
    pub fn from_status(status: &Status) -> Option<Self> {
        let same = |e: &Self| e.code() == status.code() && e.text() == status.message();
        Self::ALL.iter().copied().find(same)
    }
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.text())
    }
}

impl std::error::Error for Error {}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        error.status()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_table_is_whole() {
        assert_eq!(Error::ALL.len(), 75);
        let named = Error::ALL.iter().filter(|e| e.name().starts_with("ErrGRPC")).count();
        assert_eq!(named, 63);
    }

    #[test]
    fn names_and_texts_are_unique() {
        let names: BTreeSet<_> = Error::ALL.iter().map(|e| e.name()).collect();
        let texts: BTreeSet<_> = Error::ALL.iter().map(|e| e.text()).collect();
        assert_eq!(names.len(), Error::ALL.len());
        assert_eq!(texts.len(), Error::ALL.len());
    }

    #[test]
    fn known_rows() {
        let rows = [
            (Error::EmptyKey, 3, "etcdserver: key is not provided"),
            (Error::Compacted, 11, "etcdserver: mvcc: required revision has been compacted"),
            (Error::FutureRev, 11, "etcdserver: mvcc: required revision is a future revision"),
            (Error::NoSpace, 8, "etcdserver: mvcc: database space exceeded"),
            (Error::LeaseNotFound, 5, "etcdserver: requested lease not found"),
            (Error::PeerURLExist, 9, "etcdserver: Peer URLs already exists"),
            (Error::PermissionDenied, 7, "etcdserver: permission denied"),
            (Error::InvalidAuthToken, 16, "etcdserver: invalid auth token"),
            (Error::NoLeader, 14, "etcdserver: no leader"),
            (Error::Corrupt, 15, "etcdserver: corrupt cluster"),
            (Error::NotPrimaryLessor, 2, "not a primary lessor"),
            (Error::RangeStreamSorted, 12, "RangeStream does not support custom sort orders"),
        ];
        for (error, code, text) in rows {
            let status = error.status();
            assert_eq!((status.code() as i32, status.message()), (code, text), "{error:?}");
        }
    }

    #[test]
    fn two_errors_travel_as_unknown() {
        assert_eq!(Error::RequestTooManyRequests.status().code(), Code::Unknown);
        assert_eq!(Error::MemberNotEnoughStarted.status().code(), Code::Unknown);
    }

    #[test]
    fn statuses_lead_back_to_their_errors() {
        for &error in Error::ALL {
            assert_eq!(Error::from_status(&error.status()), Some(error));
        }
        let other_code = Status::new(Code::Internal, Error::EmptyKey.text());
        assert_eq!(Error::from_status(&other_code), None);
    }
}
