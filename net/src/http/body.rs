//! A request's body as a stream of bytes. Bytes are taken from the socket only as the stream is polled: that is the back-pressure.
//! The first poll makes hyper send `100 Continue` to a client that waits for it.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, StreamExt};
use http_body_util::BodyStream;
use hyper::body::{Body, Incoming, SizeHint};
use starling_engine::load::BodyError;
use starling_engine::runtime::task::within;

/// Bytes of an unwanted body that are read and dropped before the answer, for the sake of the connection, which can go on then.
const DRAIN_BYTES_MAX: u64 = 1 << 20;
/// The time that may take.
const DRAIN_MAX: Duration = Duration::from_secs(1);

/// The body of one request.
pub struct RequestBody {
    frames: BodyStream<Incoming>,
    announced: SizeHint,
    polled: bool,
    ended: bool,
    received: u64,
}

impl RequestBody {
    pub fn new(body: Incoming) -> RequestBody {
        let announced = body.size_hint();
        let ended = body.is_end_stream();
        RequestBody { frames: BodyStream::new(body), announced, polled: false, ended, received: 0 }
    }

    /// Bytes of the body so far.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// After the answer is known: takes what the client still sends, unless it waits for a `100 Continue` that will not come. False
    /// when something is left, and the connection must be closed.
    pub async fn drain(mut self, expects_continue: bool) -> bool {
        if self.ended {
            return true;
        }
        if expects_continue && !self.polled {
            return false;
        }
        if self.announced.lower() > DRAIN_BYTES_MAX {
            return false;
        }
        // A client that stops in the middle waits for the answer, perhaps: it has it when the time is over.
        within(DRAIN_MAX, self.drop_rest()).await.unwrap_or(false)
    }

    async fn drop_rest(&mut self) -> bool {
        let mut dropped = 0;
        while let Some(Ok(bytes)) = self.next().await {
            dropped += bytes.len() as u64;
            if dropped > DRAIN_BYTES_MAX {
                return false;
            }
        }
        self.ended
    }
}

impl Stream for RequestBody {
    type Item = Result<Bytes, BodyError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.ended {
            return Poll::Ready(None);
        }
        self.polled = true;
        loop {
            match self.frames.poll_next_unpin(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(None) => {
                    self.ended = true;
                    return Poll::Ready(None);
                }
                Poll::Ready(Some(Ok(frame))) => {
                    // Trailers carry nothing we know.
                    if let Ok(data) = frame.into_data() {
                        self.received += data.len() as u64;
                        return Poll::Ready(Some(Ok(data)));
                    }
                }
                Poll::Ready(Some(Err(error))) => {
                    let reason = format!("the body did not come whole: {error}");
                    return Poll::Ready(Some(Err(BodyError(reason))));
                }
            }
        }
    }
}
