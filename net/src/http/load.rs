//! PUT /api/{db}/{table}/_stream_load, and the rejected rows it points to.
//!
//! Whatever a load ends with is HTTP 200 with the outcome in the JSON body; 401 is for who may not load at all.

use std::rc::Rc;

use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, HOST, HeaderMap, HeaderValue, WWW_AUTHENTICATE};
use hyper::{Request, StatusCode};
use starling_engine::load;

use crate::http::Context;
use crate::http::body::RequestBody;
use crate::http::routes::{Answer, expects_continue, failure, json, text};
use crate::mysql::auth;

/// Runs one load.
pub async fn stream_load(context: &Rc<Context>, database: &str, table: &str, request: Request<Incoming>) -> Answer {
    let expects = expects_continue(&request);
    let (head, body) = request.into_parts();
    let mut body = RequestBody::new(body);
    let answer = match prepare(context, database, table, &head.headers) {
        Ok((database, table, headers, base_url)) => {
            let request = load::Request { database: &database, table: &table, headers, base_url };
            let reply = load::stream_load(&context.core, request, &mut body).await;
            context.core.metrics().load_bytes_received(body.received());
            json(StatusCode::OK, reply.to_json())
        }
        Err(refusal) => refusal.answer(),
    };
    context.drain(body, expects).await;
    answer
}

/// Database, table, headers, base URL.
type Prepared = (String, String, Vec<(String, String)>, String);

fn prepare(context: &Context, database: &str, table: &str, headers: &HeaderMap) -> Result<Prepared, Refusal> {
    authorize(context, headers)?;
    let name =
        |text| decode_percent(text).ok_or_else(|| bad_request("a name in the path is not percent-encoded UTF-8"));
    let (database, table) = (name(database)?, name(table)?);
    let mut texts = Vec::with_capacity(headers.len());
    for (key, value) in headers {
        let value = std::str::from_utf8(value.as_bytes());
        let value = value.map_err(|_| bad_request(format!("header {key} is not UTF-8")))?;
        texts.push((key.as_str().to_string(), value.to_string()));
    }
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    // HTTP/1.0 needs no Host: then the address the client reached is as good.
    let base_url = host.map_or_else(|| format!("http://{}", context.socket.local()), |host| format!("http://{host}"));
    Ok((database, table, texts, base_url))
}

/// A load that does not begin.
struct Refusal {
    status: StatusCode,
    message: String,
}

impl Refusal {
    fn answer(self) -> Answer {
        let mut answer = failure(self.status, &self.message);
        if self.status == StatusCode::UNAUTHORIZED {
            let realm = HeaderValue::from_static("Basic realm=\"starling\"");
            answer.headers_mut().insert(WWW_AUTHENTICATE, realm);
        }
        answer
    }
}

fn bad_request(message: impl Into<String>) -> Refusal {
    Refusal { status: StatusCode::BAD_REQUEST, message: message.into() }
}

/// Basic authentication, of the same accounts as MySQL's.
fn authorize(context: &Context, headers: &HeaderMap) -> Result<(), Refusal> {
    let basic = headers.get(AUTHORIZATION).and_then(|value| credentials(value.as_bytes()));
    let (user, password) = basic.unwrap_or_default();
    if auth::account(&user).is_some_and(|account| auth::accepts_password(&account, &password)) {
        return Ok(());
    }
    let using_password = if password.is_empty() { "NO" } else { "YES" };
    let host = context.socket.host();
    let message = format!("Access denied for user '{user}'@'{host}' (using password: {using_password})");
    Err(Refusal { status: StatusCode::UNAUTHORIZED, message })
}

fn credentials(header: &[u8]) -> Option<(String, String)> {
    let (scheme, rest) = std::str::from_utf8(header).ok()?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let plain = String::from_utf8(decode_base64(rest.trim())?).ok()?;
    let (user, password) = plain.split_once(':')?;
    Some((user.to_string(), password.to_string()))
}

/// The rejected rows of a load, by the name that its ErrorURL carries.
pub async fn error_log(context: &Context, query: Option<&str>) -> Answer {
    let file = query.into_iter().flat_map(|query| query.split('&')).find_map(|pair| pair.strip_prefix("file="));
    let Some(file) = file.and_then(decode_percent) else {
        return failure(StatusCode::BAD_REQUEST, "name the file: /api/_load_error_log?file=...");
    };
    match load::error_log::read(context.core.disk(), &file).await {
        Some(rows) => text(StatusCode::OK, rows),
        None => failure(StatusCode::NOT_FOUND, "no such error log, or no longer kept"),
    }
}

/// Standard base64, padded or not; `None` when it is not.
fn decode_base64(text: &str) -> Option<Vec<u8>> {
    let digits = text.trim_end_matches('=');
    let (mut out, mut bits, mut count) = (Vec::with_capacity(digits.len() * 3 / 4), 0u32, 0);
    for digit in digits.bytes() {
        let value = match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            out.push((bits >> count) as u8);
        }
    }
    Some(out)
}

/// Percent-decoding of a path segment or a query value; `None` when it is not UTF-8 or a `%` lacks its digits.
fn decode_percent(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let digit = |byte: u8| char::from(byte).to_digit(16);
            let (high, low) = (digit(bytes.next()?)?, digit(bytes.next()?)?);
            out.push((high * 16 + low) as u8);
        } else {
            out.push(byte);
        }
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_padded_or_not() {
        assert_eq!(credentials(b"Basic cm9vdDo="), Some(("root".into(), String::new())));
        assert_eq!(credentials(b"basic cm9vdDo"), Some(("root".into(), String::new())));
        assert_eq!(credentials(b"Basic cm9vdDpwOnc="), Some(("root".into(), "p:w".into())));
        for bad in [&b"Basic ***"[..], b"Bearer cm9vdDo=", b"Basic", b"Basic cm9vdA==", b"\xff\xff"] {
            assert_eq!(credentials(bad), None);
        }
    }

    #[test]
    fn percent_decoding() {
        assert_eq!(decode_percent("a%20b%C3%A9").as_deref(), Some("a b\u{e9}"));
        for bad in ["%", "%2", "%zz", "%ff"] {
            assert_eq!(decode_percent(bad), None);
        }
    }
}
