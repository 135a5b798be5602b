//! HTTP/1.1: Stream Load, health, metrics, rejected rows.
//!
//! | file | part |
//! |---|---|
//! | `io` | our sockets as hyper's transport |
//! | `body` | a request's body as a stream of bytes, with back-pressure |
//! | `routes` | which path is answered by what |
//! | `load` | PUT /api/{db}/{table}/_stream_load |
//! | `metrics` | GET /metrics |
//!
//! Core: the one the connection was handed to. hyper does the protocol; a connection is one task, and requests of one connection are
//! answered one after the other.

mod body;
mod io;
mod load;
mod metrics;
mod routes;

use std::cell::Cell;
use std::convert::Infallible;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use starling_engine::shard::Core;

use crate::http::body::RequestBody;
use crate::listen::OpenGuard;
use crate::socket::Socket;

/// How long a connection may stay between requests, and a client may take for a request's head.
const IDLE_MAX: Duration = Duration::from_secs(75);
/// Bytes of a request's head. Stream Load has many headers, and `columns` can be long.
const HEAD_BYTES_MAX: usize = 64 << 10;
/// Headers of a request.
const HEADERS_MAX: usize = 128;
/// Connections of one core that are served; more are told so and closed.
pub(crate) const HTTP_CONNECTIONS_MAX: u64 = 4096;
/// How long a connection that is one too many may take to ask for something.
const CROWDED_MAX: Duration = Duration::from_secs(5);
/// How long a client may go on sending a body that nobody wants any more, so that it gets to read why.
const LINGER_MAX: Duration = Duration::from_secs(10);

/// What requests of one connection share.
pub(crate) struct Context {
    pub core: Rc<Core>,
    pub socket: Rc<Socket>,
    /// There are too many connections: this one gets to hear so, and nothing else.
    pub crowded: bool,
    /// Set when the answer leaves some of the request's body unread: the connection cannot go on.
    pub close: Cell<bool>,
}

impl Context {
    /// Takes what the client still sends of a body that is not wanted any more, so that it comes to read the answer.
    async fn drain(&self, body: RequestBody, expects_continue: bool) {
        if !body.drain(expects_continue).await {
            self.close.set(true);
        }
    }
}

/// Serves a connection of this core until it ends.
pub async fn serve(core: Rc<Core>, socket: Rc<Socket>, guard: OpenGuard) {
    let crowded = socket.stats().http_open.load(Ordering::Relaxed) > HTTP_CONNECTIONS_MAX;
    socket.wait_for_client(if crowded { CROWDED_MAX } else { IDLE_MAX });
    let context = Rc::new(Context { core, socket: socket.clone(), crowded, close: Cell::new(false) });
    let shared = context.clone();
    let service = service_fn(move |request| {
        let context = shared.clone();
        async move {
            context.socket.client_came();
            let response = routes::answer(&context, request).await;
            context.socket.wait_for_client(IDLE_MAX);
            Ok::<_, Infallible>(response)
        }
    });
    let served = http1::Builder::new()
        .max_headers(HEADERS_MAX)
        .max_header_size(HEAD_BYTES_MAX)
        // A client that has said all it has to say may close its side and wait for the outcome: a load goes on to its commit.
        .half_close(true)
        .serve_connection(io::Transport::new(socket.clone()), service)
        .await;
    if let Err(error) = served {
        // A bare connect and close is how some clients choose a host: no error (clients.md 5.1).
        tracing::debug!(peer = %socket.peer(), %error, "http connection ended");
    }
    if context.close.get() {
        socket.linger(LINGER_MAX).await;
    }
    socket.shutdown();
    drop(guard);
}
