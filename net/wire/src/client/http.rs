//! A blocking HTTP/1.1 client with keep-alive: GET, and PUT with a body of known length or in chunks, with or without
//! `Expect: 100-continue`. Enough for Stream Load, health and metrics; no TLS, no redirects.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use crate::client::ClientError;
use crate::error::WireError;

const HEAD_BYTES_MAX: u64 = 64 << 10;
const BODY_BYTES_MAX: u64 = 1 << 30;

/// A response with its whole body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpResponse {
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl HttpResponse {
    /// The first header of that name (lower case).
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// How a body is sent.
pub enum PutBody<'a> {
    /// With Content-Length.
    Sized(&'a [u8]),
    /// With Transfer-Encoding: chunked, one chunk per item.
    Chunked(&'a mut dyn Iterator<Item = Vec<u8>>),
}

/// A connection.
pub struct HttpClient {
    stream: BufReader<TcpStream>,
    host: String,
}

impl HttpClient {
    /// Connects.
    pub fn connect(address: impl ToSocketAddrs) -> Result<Self, ClientError> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        let host = stream.peer_addr()?.to_string();
        Ok(Self { stream: BufReader::with_capacity(16 << 10, stream), host })
    }

    /// The socket, to write half a request or to shut it down.
    pub fn stream(&self) -> &TcpStream {
        self.stream.get_ref()
    }

    /// Limits how long a read may take.
    pub fn set_read_timeout(&self, timeout: Option<Duration>) -> Result<(), ClientError> {
        Ok(self.stream().set_read_timeout(timeout)?)
    }

    /// GET.
    pub fn get(&mut self, path: &str) -> Result<HttpResponse, ClientError> {
        let head = format!("GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", self.host);
        self.write(head.as_bytes())?;
        self.read_response()
    }

    /// PUT of a body of known length, without `Expect`.
    pub fn put(&mut self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<HttpResponse, ClientError> {
        self.request("PUT", path, headers, PutBody::Sized(body), false)
    }

    /// Any request with a body. With `expect`, waits for `100 Continue` and sends no body when a final answer comes first.
    pub fn request(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: PutBody<'_>,
        expect: bool,
    ) -> Result<HttpResponse, ClientError> {
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\n", self.host);
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        match &body {
            PutBody::Sized(bytes) => head.push_str(&format!("Content-Length: {}\r\n", bytes.len())),
            PutBody::Chunked(_) => head.push_str("Transfer-Encoding: chunked\r\n"),
        }
        head.push_str(if expect { "Expect: 100-continue\r\n\r\n" } else { "\r\n" });
        if expect {
            self.write(head.as_bytes())?;
            let interim = self.read_head()?;
            if interim.status != 100 {
                return self.read_body(interim);
            }
            self.write_body(body)?;
        } else if let PutBody::Sized(bytes) = body
            && bytes.len() < 64 << 10
        {
            let mut all = head.into_bytes();
            all.extend_from_slice(bytes);
            self.write(&all)?;
        } else {
            self.write(head.as_bytes())?;
            self.write_body(body)?;
        }
        self.read_response()
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), ClientError> {
        Ok(self.stream.get_mut().write_all(bytes)?)
    }

    fn write_body(&mut self, body: PutBody<'_>) -> Result<(), ClientError> {
        match body {
            PutBody::Sized(bytes) => self.write(bytes),
            PutBody::Chunked(chunks) => {
                for chunk in chunks.filter(|chunk| !chunk.is_empty()) {
                    let mut framed = format!("{:x}\r\n", chunk.len()).into_bytes();
                    framed.extend_from_slice(&chunk);
                    framed.extend_from_slice(b"\r\n");
                    self.write(&framed)?;
                }
                self.write(b"0\r\n\r\n")
            }
        }
    }

    /// Reads a final response, passing over interim ones.
    pub fn read_response(&mut self) -> Result<HttpResponse, ClientError> {
        loop {
            let head = self.read_head()?;
            if head.status >= 200 {
                return self.read_body(head);
            }
        }
    }

    fn read_head(&mut self) -> Result<HttpResponse, ClientError> {
        let mut left = HEAD_BYTES_MAX;
        let line = self.line(&mut left)?;
        let status = line.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..5)).and_then(|code| code.parse().ok());
        let status = status.ok_or(WireError::Malformed("not an HTTP/1.x status line"))?;
        let mut headers = Vec::new();
        loop {
            let line = self.line(&mut left)?;
            if line.is_empty() {
                return Ok(HttpResponse { status, headers, body: Vec::new() });
            }
            let (name, value) = line.split_once(':').ok_or(WireError::Malformed("an HTTP header without a colon"))?;
            headers.push((name.to_ascii_lowercase(), value.trim().to_string()));
        }
    }

    fn line(&mut self, left: &mut u64) -> Result<String, ClientError> {
        let mut line = Vec::new();
        let read = (&mut self.stream).take(*left).read_until(b'\n', &mut line)?;
        if line.pop() != Some(b'\n') {
            return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into());
        }
        *left -= read as u64;
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        Ok(String::from_utf8_lossy(&line).into_owned())
    }

    fn read_body(&mut self, mut response: HttpResponse) -> Result<HttpResponse, ClientError> {
        if response.status == 204 || response.status == 304 {
            return Ok(response);
        }
        let chunked = response.header("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked"));
        let length = response.header("content-length").map(str::parse::<u64>);
        if chunked {
            response.body = self.read_chunks()?;
        } else if let Some(length) = length {
            let length = length.map_err(|_| WireError::Malformed("a Content-Length that is no number"))?;
            self.read_exactly(length, &mut response.body)?;
        } else {
            (&mut self.stream).take(BODY_BYTES_MAX).read_to_end(&mut response.body)?;
        }
        Ok(response)
    }

    fn read_chunks(&mut self) -> Result<Vec<u8>, ClientError> {
        let mut body = Vec::new();
        loop {
            let line = self.line(&mut 1024)?;
            let size = line.split(';').next().unwrap_or_default().trim();
            let size =
                u64::from_str_radix(size, 16).map_err(|_| WireError::Malformed("a chunk size that is no number"))?;
            self.read_exactly(size, &mut body)?;
            if size == 0 {
                while !self.line(&mut 8192)?.is_empty() {}
                return Ok(body);
            }
            self.line(&mut 8)?;
        }
    }

    fn read_exactly(&mut self, length: u64, body: &mut Vec<u8>) -> Result<(), ClientError> {
        if body.len() as u64 + length > BODY_BYTES_MAX {
            return Err(WireError::Malformed("a response body over 1 GiB").into());
        }
        if (&mut self.stream).take(length).read_to_end(body)? as u64 != length {
            return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into());
        }
        Ok(())
    }
}
