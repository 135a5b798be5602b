//! What a client has sent and the session has not taken yet.
//!
//! Some drivers send several commands before they read the first answer, so packets queue here, and the session answers them in
//! order. The reader goes on reading while a statement runs: that is how a closed socket is seen in time to cancel it. It stops
//! only while a whole queue waits, so a client cannot make the server hold more than the bounds below. Until the login is done it
//! takes one packet for each that is asked for, and small ones only: nobody must fill the server's memory without being known to it.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use starling_engine::runtime::event::Event;
use starling_wire::WireError;
use starling_wire::packet::{Packet, PacketDecoder};

use crate::mysql::{LOGIN_PACKET_BYTES_MAX, PACKET_BYTES_MAX};
use crate::socket::Socket;

/// Packets that may wait.
const QUEUED_PACKETS_MAX: usize = 1024;
/// Bytes that may wait in more than one packet; a single packet may be as large as packets may be.
const QUEUED_BYTES_MAX: usize = 4 << 20;

/// Why no more packets come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// The client closed its side, or the socket failed.
    Closed,
    /// The bytes make no packets: the stream cannot be followed any more.
    Wire(WireError),
}

/// The queue between a connection's reader and its session.
#[derive(Default)]
pub struct Inbox {
    packets: RefCell<VecDeque<Packet>>,
    bytes: Cell<usize>,
    end: RefCell<Option<End>>,
    /// The login is done.
    admitted: Cell<bool>,
    /// Before that: a packet is asked for.
    asked: Cell<bool>,
    arrived: Event,
    taken: Event,
}

impl Inbox {
    /// The next packet, or why none comes.
    pub async fn next(&self) -> Result<Packet, End> {
        if !self.admitted.get() {
            self.asked.set(true);
            self.taken.notify();
        }
        let next = self.arrived.until(|| self.take().map(Ok).or_else(|| self.end.borrow().clone().map(Err))).await;
        self.taken.notify();
        next
    }

    /// The login is done: packets may be large, and come before they are asked for.
    pub fn admit(&self) {
        self.admitted.set(true);
        self.taken.notify();
    }

    /// Whether a packet waits already.
    pub fn has_next(&self) -> bool {
        !self.packets.borrow().is_empty()
    }

    fn take(&self) -> Option<Packet> {
        let packet = self.packets.borrow_mut().pop_front()?;
        self.bytes.set(self.bytes.get() - packet.payload.len());
        Some(packet)
    }

    fn push(&self, packet: Packet) {
        self.asked.set(false);
        self.bytes.set(self.bytes.get() + packet.payload.len());
        self.packets.borrow_mut().push_back(packet);
        self.arrived.notify();
    }

    fn finish(&self, end: End) {
        self.end.borrow_mut().get_or_insert(end);
        self.arrived.notify();
    }

    fn has_room(&self) -> bool {
        if !self.admitted.get() {
            return self.asked.get();
        }
        let packets = self.packets.borrow().len();
        packets < QUEUED_PACKETS_MAX && (packets <= 1 || self.bytes.get() < QUEUED_BYTES_MAX)
    }

    /// No packet is wanted any more: the reader ends at its next turn.
    pub fn abandon(&self) {
        self.finish(End::Closed);
        self.taken.notify();
    }

    fn is_finished(&self) -> bool {
        self.end.borrow().is_some()
    }
}

/// The reader of a connection. `on_end` is called once, when the client is gone or cannot be followed.
pub async fn read_packets(socket: Rc<Socket>, inbox: Rc<Inbox>, on_end: impl FnOnce()) {
    let mut decoder = PacketDecoder::new(LOGIN_PACKET_BYTES_MAX);
    let end = loop {
        // A client is not late while it is the server that does not read.
        socket.receiving(false);
        inbox.taken.until(|| (inbox.has_room() || inbox.is_finished()).then_some(())).await;
        if inbox.is_finished() {
            return;
        }
        if inbox.admitted.get() {
            decoder.set_limit(PACKET_BYTES_MAX);
        }
        match decoder.next_packet() {
            Ok(Some(packet)) => {
                inbox.push(packet);
                continue;
            }
            Ok(None) => {}
            Err(error) => break End::Wire(error),
        }
        socket.receiving(decoder.buffered() > 0);
        match socket.read(|bytes| decoder.feed(bytes)).await {
            Ok(0) | Err(_) => break End::Closed,
            Ok(_) => {}
        }
    };
    inbox.finish(end);
    on_end();
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::TcpStream;
    use std::time::{Duration, Instant};

    use glommio::LocalExecutorBuilder;
    use glommio::net::TcpListener;
    use starling_storage::ids::CoreId;

    use super::*;
    use crate::socket::RECEIVE_STUCK_MAX;
    use crate::stats::Stats;

    /// Runs `work` with a client's socket, its other end, and an inbox that a reader fills.
    fn with_reader<F: Future<Output = ()>>(work: impl FnOnce(TcpStream, Rc<Socket>, Rc<Inbox>) -> F + Send + 'static) {
        let executor = LocalExecutorBuilder::default().spawn(|| async move {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let accepted = listener.shared_accept().await.unwrap();
            let socket = Socket::new(accepted, CoreId(0), Stats::new(1)).unwrap();
            let inbox = Rc::new(Inbox::default());
            let reader = read_packets(socket.clone(), inbox.clone(), || ());
            let reading = glommio::spawn_local(reader).detach();
            work(client, socket.clone(), inbox.clone()).await;
            inbox.abandon();
            socket.shutdown();
            reading.await;
        });
        executor.unwrap().join().unwrap();
    }

    async fn soon(what: &str, condition: impl Fn() -> bool) {
        let until = Instant::now() + Duration::from_secs(10);
        while !condition() {
            assert!(Instant::now() < until, "{what}");
            glommio::timer::sleep(Duration::from_millis(1)).await;
        }
    }

    #[test]
    fn half_a_packet_is_waited_for_only_so_long() {
        with_reader(|mut client, socket, inbox| async move {
            inbox.admit();
            let late = || Instant::now() + 2 * RECEIVE_STUCK_MAX;
            assert!(!socket.overdue(late()), "nothing has begun");
            client.write_all(&[2, 0, 0, 0, 1]).unwrap();
            soon("half a packet is overdue some day", || socket.overdue(late())).await;
            assert!(!socket.overdue(Instant::now()));
            client.write_all(&[2]).unwrap();
            assert_eq!(inbox.next().await.unwrap().payload[..], [1, 2]);
            soon("a whole one is not", || !socket.overdue(late())).await;
        });
    }

    #[test]
    fn before_the_login_a_packet_comes_only_when_it_is_asked_for() {
        with_reader(|mut client, _socket, inbox| async move {
            client.write_all(&[1, 0, 0, 0, 7, 1, 0, 0, 0, 8, 1, 0, 0, 0, 9]).unwrap();
            assert_eq!(inbox.next().await.unwrap().payload[..], [7]);
            glommio::timer::sleep(Duration::from_millis(50)).await;
            assert!(!inbox.has_next());
            inbox.admit();
            soon("the others come by themselves", || inbox.has_next()).await;
        });
    }
}
