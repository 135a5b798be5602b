//! One accepted socket on its core, shared by the task that reads and the task that writes, and the watch that ends sockets that are
//! idle or whose sends are stuck.
//!
//! Timeouts are not the runtime's: a read timeout abandoned once makes the next read fail (glommio 0.9), and a timer a command would
//! cost more than the command. The watch looks at all sockets of the core once a second and shuts the overdue ones down, which ends
//! their pending reads and writes.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, Shutdown, SocketAddr};
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures::FutureExt;
use futures::io::{AsyncRead, AsyncWrite};
use glommio::net::{AcceptedTcpStream, TcpStream};
use starling_storage::ids::CoreId;

use crate::stats::{CoreStats, Stats, count};

/// Bytes one read takes at most.
const READ_BYTES: usize = 64 << 10;
/// A send that makes no progress for this long ends its connection (design 6.7).
pub const SEND_STUCK_MAX: Duration = Duration::from_secs(60);
/// A packet that has begun and of which nothing more comes for this long ends its connection (MySQL's net_read_timeout).
pub const RECEIVE_STUCK_MAX: Duration = Duration::from_secs(60);
/// As `SEND_STUCK_MAX`, of a connection that is hung up on: what is said last may still be taken, but is not waited for long.
const LAST_SEND_STUCK_MAX: Duration = Duration::from_secs(1);
/// How often the watch looks.
const WATCH_EVERY: Duration = Duration::from_secs(1);

thread_local! {
    /// One read buffer for all sockets of a core: it is used within a poll only.
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; READ_BYTES]);
    /// The sockets of this core.
    static WATCH: Rc<Watch> = Rc::default();
}

/// An accepted socket.
pub struct Socket {
    stream: RefCell<TcpStream>,
    peer: SocketAddr,
    local: SocketAddr,
    stats: Arc<Stats>,
    core: CoreId,
    /// Set while a send waits for room.
    blocked_since: Cell<Option<Instant>>,
    /// The client is heard no more.
    hung_up: Cell<bool>,
    /// Set while half a packet is there: when the last bytes of it came.
    receiving_since: Cell<Option<Instant>>,
    /// Set while the protocol waits for the client, with what it grants.
    waiting: Cell<Option<(Instant, Duration)>>,
}

impl Socket {
    /// Binds an accepted connection to the calling core.
    pub fn new(accepted: AcceptedTcpStream, core: CoreId, stats: Arc<Stats>) -> io::Result<Rc<Socket>> {
        let stream = accepted.bind_to_executor();
        stream.set_nodelay(true)?;
        let (peer, local) = (stream.peer_addr()?, stream.local_addr()?);
        Ok(Rc::new(Socket {
            stream: RefCell::new(stream),
            peer,
            local,
            stats,
            core,
            blocked_since: Cell::new(None),
            hung_up: Cell::new(false),
            receiving_since: Cell::new(None),
            waiting: Cell::new(None),
        }))
    }

    /// The client's address and port.
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// The server's address and port, as the client reached them.
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// The client's address as MySQL shows hosts.
    pub fn host(&self) -> IpAddr {
        self.peer.ip().to_canonical()
    }

    /// Counters of this socket's core.
    pub fn stats(&self) -> &CoreStats {
        self.stats.core(self.core)
    }

    /// Counters of all cores.
    pub fn all_stats(&self) -> &Arc<Stats> {
        &self.stats
    }

    /// Waits for bytes and hands them to `sink`; 0 is the end of the stream.
    pub async fn read(&self, mut sink: impl FnMut(&[u8])) -> io::Result<usize> {
        poll_fn(|cx| self.poll_read(cx, READ_BYTES, &mut sink)).await
    }

    /// As `read`, of at most `limit` bytes, for adapters.
    pub fn poll_read(
        &self,
        cx: &mut Context<'_>,
        limit: usize,
        sink: &mut dyn FnMut(&[u8]),
    ) -> Poll<io::Result<usize>> {
        SCRATCH.with_borrow_mut(|scratch| {
            let room = &mut scratch[..limit.min(READ_BYTES)];
            let read = Pin::new(&mut *self.stream.borrow_mut()).poll_read(cx, room);
            if let Poll::Ready(Ok(len)) = read {
                count(&self.stats().bytes_received, len as u64);
                sink(&room[..len]);
            }
            read
        })
    }

    /// Sends all of `bytes`.
    pub async fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let sent = poll_fn(|cx| self.poll_write(cx, bytes)).await?;
            bytes = &bytes[sent..];
        }
        Ok(())
    }

    /// Sends some of `bytes`; never 0 of them.
    pub fn poll_write(&self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match Pin::new(&mut *self.stream.borrow_mut()).poll_write(cx, bytes) {
            Poll::Ready(Ok(0)) if !bytes.is_empty() => Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            Poll::Ready(sent) => {
                self.blocked_since.set(None);
                if let Ok(len) = sent {
                    count(&self.stats().bytes_sent, len as u64);
                }
                Poll::Ready(sent)
            }
            Poll::Pending => {
                if self.blocked_since.get().is_none() {
                    self.blocked_since.set(Some(Instant::now()));
                }
                Poll::Pending
            }
        }
    }

    /// Says whether the rest of something that has begun is awaited; each call begins the time anew.
    pub fn receiving(&self, rest: bool) {
        self.receiving_since.set(rest.then(Instant::now));
    }

    /// Says that the protocol waits for the client from now on, for at most `limit`.
    pub fn wait_for_client(&self, limit: Duration) {
        self.waiting.set(Some((Instant::now(), limit)));
    }

    /// Says that it does not wait any more.
    pub fn client_came(&self) {
        self.waiting.set(None);
    }

    /// Ends the connection from this side: pending and later reads and writes fail.
    pub fn shutdown(&self) {
        self.shut(Shutdown::Both);
    }

    /// Hears the client no more: reads see the end of the stream. What is still to be said can be sent, but a client that does not take it
    /// is not waited for.
    pub fn hang_up(&self) {
        self.hung_up.set(true);
        self.shut(Shutdown::Read);
    }

    /// Reads and drops what the client still sends, for at most `limit`, so that it gets to read what was said last: to close on
    /// unread bytes would reset the connection, and the client's system would throw the answer away.
    pub async fn linger(&self, limit: Duration) {
        self.shutdown_write();
        self.wait_for_client(limit);
        let until = Instant::now() + limit;
        while Instant::now() < until && self.read(|_| ()).await.is_ok_and(|len| len > 0) {}
    }

    /// Tells the client that nothing more comes.
    pub fn shutdown_write(&self) {
        self.shut(Shutdown::Write);
    }

    fn shut(&self, how: Shutdown) {
        // The call is synchronous inside. That a client is gone already is no error.
        let done = self.stream.borrow().shutdown(how).now_or_never();
        drop(done);
    }

    /// Whether it is to be ended at `now`: nobody makes progress, or the client has had all the time it was given.
    pub fn overdue(&self, now: Instant) -> bool {
        let blocked = self.blocked_since.get().map(|since| now.saturating_duration_since(since));
        if self.hung_up.get() && blocked.is_some_and(|time| time > LAST_SEND_STUCK_MAX) {
            return true;
        }
        if blocked.is_some_and(|time| time > SEND_STUCK_MAX) {
            count(&self.stats().sends_stuck, 1);
            tracing::warn!(peer = %self.peer, "connection ended: a send was stuck");
            return true;
        }
        if self.receiving_since.get().is_some_and(|since| now.saturating_duration_since(since) > RECEIVE_STUCK_MAX) {
            tracing::debug!(peer = %self.peer, "connection ended: the rest of a packet did not come");
            return true;
        }
        self.waiting.get().is_some_and(|(since, limit)| now.saturating_duration_since(since) > limit)
    }
}

/// The sockets of a core.
#[derive(Default)]
pub struct Watch {
    sockets: RefCell<Vec<Weak<Socket>>>,
}

impl Watch {
    /// The watch of the calling core.
    pub fn current() -> Rc<Watch> {
        WATCH.with(Rc::clone)
    }

    pub fn add(&self, socket: &Rc<Socket>) {
        self.sockets.borrow_mut().push(Rc::downgrade(socket));
    }

    /// The server stops: no client is heard any more. What runs for one is cancelled by that, and can still say so.
    pub fn hang_up(&self) {
        self.living().iter().for_each(|socket| socket.hang_up());
    }

    /// Looks once a second, for as long as the core lives.
    pub async fn run(self: Rc<Self>) {
        loop {
            glommio::timer::sleep(WATCH_EVERY).await;
            let now = Instant::now();
            self.living().iter().filter(|socket| socket.overdue(now)).for_each(|socket| socket.shutdown());
        }
    }

    fn living(&self) -> Vec<Rc<Socket>> {
        let mut living = Vec::new();
        self.sockets.borrow_mut().retain(|socket| match socket.upgrade() {
            Some(socket) => {
                living.push(socket);
                true
            }
            None => false,
        });
        living
    }
}
