//! Request bodies made smaller.

use std::io::Write;

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use http::{HeaderValue, Request, header};

/// Bodies up to this many bytes stay as they are.
pub(crate) const SMALL: usize = 1_024;

/// Headers that speak of the body's bytes, or forbid to change them.
fn is_bound_to_its_bytes(request: &Request<Bytes>) -> bool {
    let headers = request.headers();
    let no_transform = headers.get_all(header::CACHE_CONTROL).iter().any(|value| {
        let value = value.as_bytes().to_ascii_lowercase();
        value
            .split(|&byte| byte == b',')
            .any(|part| part.trim_ascii() == b"no-transform")
    });
    let named = [
        "content-encoding",
        "content-range",
        "content-digest",
        "repr-digest",
        "digest",
        "content-md5",
        "x-amz-content-sha256",
        "x-goog-hash",
        "signature-input",
    ];
    // Signatures of that kind cover the payload.
    let signed = headers
        .get_all(header::AUTHORIZATION)
        .iter()
        .any(|value| value.as_bytes().starts_with(b"AWS4-"));
    let summed = headers
        .keys()
        .any(|name| name.as_str().starts_with("x-amz-checksum-"));
    let named = named.iter().any(|&name| headers.contains_key(name));
    no_transform || signed || summed || named
}

/// Compresses the body of a request with gzip (RFC 1952) if it has more than 1,024 bytes and becomes smaller by it;
/// sets `Content-Encoding: gzip` and corrects `Content-Length` where there is one. Returns whether it did.
///
/// A request that has a `Content-Encoding` already, a digest or signature of its body, a `Content-Range` or `no-transform` stays as
/// it is. The same body gives the same bytes. Cost: O(body) time, at most one body more of memory.
///
/// ```
/// use bytes::Bytes;
/// let mut request = http::Request::post("https://api.example/v1").body(Bytes::from(vec![b' '; 5_000]))?;
/// assert!(mainspring_scheduler::compress_body(&mut request));
/// assert_eq!(request.headers()["content-encoding"], "gzip");
/// assert!(request.body().len() < 100);
/// # Ok::<(), http::Error>(())
/// ```
pub fn compress_body(request: &mut Request<Bytes>) -> bool {
    let size = request.body().len();
    if size <= SMALL || is_bound_to_its_bytes(request) {
        return false;
    }
    let Some(smaller) = gzip(request.body()) else {
        return false;
    };
    let length = HeaderValue::from(smaller.len());
    *request.body_mut() = smaller;
    let headers = request.headers_mut();
    headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    if headers.contains_key(header::CONTENT_LENGTH) {
        headers.insert(header::CONTENT_LENGTH, length);
    }
    true
}

fn gzip(body: &[u8]) -> Option<Bytes> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 4), Compression::default());
    encoder.write_all(body).ok()?;
    let packed = encoder.finish().ok()?;
    (packed.len() < body.len()).then(|| packed.into())
}
