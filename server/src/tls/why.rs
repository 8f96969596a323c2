//! Why a handshake failed, in words that say what to do and that do not change from one try to the
//! next.

use std::io;

use rustls::{AlertDescription, CertificateError, Error, InvalidMessage};

/// Who is on the other side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Other {
    /// One that has connected.
    Client,
    /// One that was connected to.
    Server,
}

/// Whether the other side has refused this one.
pub(crate) fn is_alert(error: &io::Error) -> bool {
    matches!(of(error), Some(Error::AlertReceived(_)))
}

/// The reason of a failure.
pub(crate) fn why(error: &io::Error, other: Other) -> String {
    match of(error) {
        Some(error) => reason(error, other),
        None if error.kind() == io::ErrorKind::UnexpectedEof => {
            "it closed the connection during the handshake".to_owned()
        }
        None => error.to_string(),
    }
}

fn of(error: &io::Error) -> Option<&Error> {
    error.get_ref()?.downcast_ref()
}

fn reason(error: &Error, other: Other) -> String {
    if let Error::InvalidCertificate(error) = error {
        return certificate(error);
    }
    if let Error::AlertReceived(alert) = error {
        return refused(*alert);
    }
    if let Error::InvalidMessage(InvalidMessage::InvalidContentType) = error {
        let scheme = match other {
            Other::Client => "it must connect with https",
            Other::Server => "its URL may have to be http",
        };
        return format!("it does not speak TLS: {scheme}");
    }
    if let Error::NoCertificatesPresented = error {
        return "it shows no certificate".to_owned();
    }
    error.to_string()
}

fn certificate(error: &CertificateError) -> String {
    if let CertificateError::ExpiredContext { not_after, .. } = error {
        let date = i64::try_from(not_after.as_secs())
            .ok()
            .and_then(|secs| x509_parser::time::ASN1Time::from_timestamp(secs).ok());
        return date.map_or_else(
            || "its certificate has expired".to_owned(),
            |date| format!("its certificate expired on {date}"),
        );
    }
    if let CertificateError::NotValidYetContext { .. } = error {
        return "its certificate is not valid yet: compare the clocks".to_owned();
    }
    if let CertificateError::UnknownIssuer = error {
        return "its certificate is not of a trusted authority".to_owned();
    }
    if let CertificateError::Revoked = error {
        return "its certificate is revoked".to_owned();
    }
    if let CertificateError::BadSignature = error {
        return "its certificate is not signed by the authority that it names".to_owned();
    }
    if let CertificateError::Other(error) = error {
        return error.0.to_string();
    }
    error.to_string()
}

fn refused(alert: AlertDescription) -> String {
    #[expect(clippy::wildcard_enum_match_arm, reason = "only some are about certificates")]
    let why = match alert {
        AlertDescription::CertificateExpired => "has expired",
        AlertDescription::CertificateRevoked => "is revoked",
        AlertDescription::UnknownCA => "is not of an authority that it trusts",
        AlertDescription::CertificateRequired => "is missing, and it demands one",
        AlertDescription::BadCertificate => "is not valid for the name or address",
        AlertDescription::UnsupportedCertificate => "is not made for this use",
        AlertDescription::CertificateUnknown | AlertDescription::AccessDenied => "is not allowed",
        _ => return format!("it ended the handshake: {alert:?}"),
    };
    format!("it does not take this member's certificate, which {why} ({alert:?})")
}
