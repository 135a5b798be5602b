//! What a client has sent and the session has not taken yet.
//!
//! Some drivers send several commands before they read the first answer, so packets queue here, and the session answers them in
//! order. The reader goes on reading while a statement runs: that is how a closed socket is seen in time to cancel it. It stops
//! only while a whole queue waits, so a client cannot make the server hold more than the bounds below.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use starling_engine::runtime::event::Event;
use starling_wire::WireError;
use starling_wire::packet::{Packet, PacketDecoder};

use crate::mysql::PACKET_BYTES_MAX;
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
    arrived: Event,
    taken: Event,
}

impl Inbox {
    /// The next packet, or why none comes.
    pub async fn next(&self) -> Result<Packet, End> {
        let next = self.arrived.until(|| self.take().map(Ok).or_else(|| self.end.borrow().clone().map(Err))).await;
        self.taken.notify();
        next
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
        self.bytes.set(self.bytes.get() + packet.payload.len());
        self.packets.borrow_mut().push_back(packet);
        self.arrived.notify();
    }

    fn finish(&self, end: End) {
        self.end.borrow_mut().get_or_insert(end);
        self.arrived.notify();
    }

    fn has_room(&self) -> bool {
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
    let mut decoder = PacketDecoder::new(PACKET_BYTES_MAX);
    let end = loop {
        inbox.taken.until(|| (inbox.has_room() || inbox.is_finished()).then_some(())).await;
        if inbox.is_finished() {
            return;
        }
        match decoder.next_packet() {
            Ok(Some(packet)) => {
                inbox.push(packet);
                continue;
            }
            Ok(None) => {}
            Err(error) => break End::Wire(error),
        }
        match socket.read(|bytes| decoder.feed(bytes)).await {
            Ok(0) | Err(_) => break End::Closed,
            Ok(_) => {}
        }
    };
    inbox.finish(end);
    on_end();
}
