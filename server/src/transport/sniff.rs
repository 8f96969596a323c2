//! Tells HTTP/2 from HTTP/1.1 by the first bytes of a connection, and either from TLS.

use std::io;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Http1,
    Http2,
    /// Which is not spoken where this is asked.
    Tls,
}

/// How every handshake of TLS begins: its kind of record, and the part of the version that has
/// never changed. No method of HTTP does.
const TLS_HELLO: &[u8] = &[0x16, 0x03];

/// Reads until the protocol is clear; what was read must be read again by whoever serves it.
///
/// # Errors
/// When the peer closes first.
pub(crate) async fn sniff(socket: &mut (impl AsyncRead + Unpin)) -> io::Result<(Protocol, Bytes)> {
    let mut seen = BytesMut::with_capacity(HTTP2_PREFACE.len());
    loop {
        let begins = |whole: &[u8]| seen.iter().zip(whole).all(|(got, expected)| got == expected);
        let (http2, tls) = (begins(HTTP2_PREFACE), begins(TLS_HELLO));
        if http2 && seen.len() >= HTTP2_PREFACE.len() {
            return Ok((Protocol::Http2, seen.freeze()));
        }
        if tls && seen.len() >= TLS_HELLO.len() {
            return Ok((Protocol::Tls, seen.freeze()));
        }
        if !http2 && !tls {
            return Ok((Protocol::Http1, seen.freeze()));
        }
        let mut rest = (&mut *socket).take((HTTP2_PREFACE.len() - seen.len()) as u64);
        if rest.read_buf(&mut seen).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn told(mut bytes: &[u8]) -> io::Result<(Protocol, Bytes)> {
        sniff(&mut bytes).await
    }

    #[tokio::test(flavor = "current_thread")]
    async fn the_preface_tells() {
        let (protocol, replay) = told(HTTP2_PREFACE).await.unwrap();
        assert_eq!((protocol, &replay[..]), (Protocol::Http2, HTTP2_PREFACE));
        for text in ["GET / HTTP/1.1\r\n", "POST /v3", "PRI * HTTP/1.1\r\n", "\0\0garbage"] {
            let (protocol, replay) = told(text.as_bytes()).await.unwrap();
            assert_eq!(protocol, Protocol::Http1, "{text:?}");
            assert!(text.as_bytes().starts_with(&replay), "nothing is lost");
        }
        assert!(told(b"PRI * HT").await.is_err());
        assert_eq!(told(b"\x16\x03\x01\x02\x00\x01").await.unwrap().0, Protocol::Tls);
        assert_eq!(told(b"\x16\x04").await.unwrap().0, Protocol::Http1);
        assert!(told(b"\x16").await.is_err());
    }
}
