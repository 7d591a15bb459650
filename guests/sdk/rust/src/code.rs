//! gRPC's status codes.

/// How a call to the sidecar ended: a status code of gRPC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Code {
    /// The call succeeded.
    Ok = 0,
    /// The call was given up.
    Cancelled,
    /// No more is known.
    Unknown,
    /// The request is at fault. Dapr says so of a store or a pub/sub that does not exist, too.
    InvalidArgument,
    /// The call's time was over.
    DeadlineExceeded,
    /// There is no such thing.
    NotFound,
    /// There is such a thing already.
    AlreadyExists,
    /// The guest may not make this call; the text says what to grant.
    PermissionDenied,
    /// Something is used up.
    ResourceExhausted,
    /// Dapr is not in the state for it.
    FailedPrecondition,
    /// Somebody else was faster: the etag is stale.
    Aborted,
    /// A value outside of a range.
    OutOfRange,
    /// There is no such method.
    Unimplemented,
    /// Something failed inside Dapr or a component.
    Internal,
    /// There is no sidecar now, or what it needs is not there.
    Unavailable,
    /// Data were lost.
    DataLoss,
    /// The caller is not known.
    Unauthenticated,
}

const ALL: [Code; 17] = [
    Code::Ok,
    Code::Cancelled,
    Code::Unknown,
    Code::InvalidArgument,
    Code::DeadlineExceeded,
    Code::NotFound,
    Code::AlreadyExists,
    Code::PermissionDenied,
    Code::ResourceExhausted,
    Code::FailedPrecondition,
    Code::Aborted,
    Code::OutOfRange,
    Code::Unimplemented,
    Code::Internal,
    Code::Unavailable,
    Code::DataLoss,
    Code::Unauthenticated,
];

impl Code {
    /// The code with that number; `Unknown` for a number that gRPC does not have.
    pub fn from_number(number: i32) -> Self {
        usize::try_from(number).ok().and_then(|index| ALL.get(index)).copied().unwrap_or(Code::Unknown)
    }

    /// Whether the same call may succeed later: `Unavailable` and `DeadlineExceeded`.
    pub fn is_transient(self) -> bool {
        matches!(self, Code::Unavailable | Code::DeadlineExceeded)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_number_is_its_code() {
        for (number, code) in ALL.into_iter().enumerate() {
            assert_eq!(code as usize, number);
            assert_eq!(Code::from_number(number as i32), code);
        }
        assert_eq!(Code::from_number(17), Code::Unknown);
        assert_eq!(Code::from_number(-5), Code::Unknown);
    }
}
