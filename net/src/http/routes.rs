//! Which path is answered by what. Unknown paths and wrong methods are told so in JSON.

use std::panic::AssertUnwindSafe;
use std::rc::Rc;

use futures::FutureExt;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONNECTION, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use starling_engine::runtime::task::panic_text;

use crate::http::body::RequestBody;
use crate::http::{Context, HTTP_CONNECTIONS_MAX, load, metrics};
use crate::stats::count;

/// Every answer is small and whole.
pub type Answer = Response<Full<Bytes>>;

const JSON: &str = "application/json;charset=UTF-8";
const TEXT: &str = "text/plain;charset=UTF-8";
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Answers a request. A panic is an answer too (500), and ends the connection.
pub async fn answer(context: &Rc<Context>, request: Request<Incoming>) -> Answer {
    count(&context.socket.stats().http_requests, 1);
    let mut response = match AssertUnwindSafe(route(context, request)).catch_unwind().await {
        Ok(response) => response,
        Err(panic) => {
            let text = panic_text(&*panic);
            count(&context.socket.stats().panics, 1);
            tracing::error!(panic = text, "http request panicked");
            context.close.set(true);
            failure(StatusCode::INTERNAL_SERVER_ERROR, "the request ended by a fault of the server")
        }
    };
    if context.close.get() {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

async fn route(context: &Rc<Context>, request: Request<Incoming>) -> Answer {
    if context.crowded {
        context.close.set(true);
        let message = format!("Limit HTTP_CONNECTIONS_MAX reached: {HTTP_CONNECTIONS_MAX} connections on a core");
        return failure(StatusCode::SERVICE_UNAVAILABLE, &format!("{message}; try again later"));
    }
    let path = request.uri().path().to_string();
    let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
    let (expected, answer) = match (segments.as_slice(), request.method()) {
        (["api", database, table, "_stream_load"], &Method::PUT | &Method::POST) => {
            return load::stream_load(context, database, table, request).await;
        }
        (["api", _, _, "_stream_load"], _) => ("PUT", None),
        (["api", "health"], &Method::GET | &Method::HEAD) => {
            ("GET", Some(reply(StatusCode::OK, JSON, health(context))))
        }
        (["metrics"], &Method::GET | &Method::HEAD) => {
            ("GET", Some(reply(StatusCode::OK, PROMETHEUS, metrics::prometheus(context).await)))
        }
        (["api", "_load_error_log"], &Method::GET | &Method::HEAD) => {
            ("GET", Some(load::error_log(context, request.uri().query()).await))
        }
        (["api", "health"] | ["metrics"] | ["api", "_load_error_log"], _) => ("GET", None),
        _ => {
            let message =
                format!("no such path: {path}; known are /api/{{db}}/{{table}}/_stream_load, /api/health, /metrics");
            finish(context, request).await;
            return failure(StatusCode::NOT_FOUND, &message);
        }
    };
    finish(context, request).await;
    answer.unwrap_or_else(|| {
        let mut response = failure(StatusCode::METHOD_NOT_ALLOWED, &format!("{path} takes {expected} only"));
        response.headers_mut().insert(hyper::header::ALLOW, HeaderValue::from_static(expected));
        response
    })
}

/// Takes the body of a request that nobody looked at.
async fn finish(context: &Context, request: Request<Incoming>) {
    let expects = expects_continue(&request);
    context.drain(RequestBody::new(request.into_body()), expects).await;
}

/// Whether the client waits for `100 Continue`.
pub fn expects_continue(request: &Request<Incoming>) -> bool {
    let expect = request.headers().get(hyper::header::EXPECT);
    expect.is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

/// StarRocks' answer of a frontend that serves, with what a check may want to see.
fn health(context: &Context) -> String {
    let cores = context.core.cores();
    let uptime = context.socket.all_stats().uptime().as_secs();
    format!(
        "{{\"status\":\"OK\",\"msg\":\"Success\",\"online_backend_num\":1,\"total_backend_num\":1,\"cores\":{cores},\"uptime_seconds\":{uptime}}}\n"
    )
}

/// An answer of the given kind.
pub fn reply(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// A JSON answer.
pub fn json(status: StatusCode, body: impl Into<Bytes>) -> Answer {
    reply(status, JSON, body)
}

/// A plain text answer.
pub fn text(status: StatusCode, body: impl Into<Bytes>) -> Answer {
    reply(status, TEXT, body)
}

/// An error of the HTTP layer itself, in the words that loaders look for.
pub fn failure(status: StatusCode, message: &str) -> Answer {
    let message = message.replace('\\', "\\\\").replace('"', "\\\"").replace(char::is_control, " ");
    json(status, format!("{{\"Status\":\"FAILED\",\"Message\":\"{message}\"}}\n"))
}
