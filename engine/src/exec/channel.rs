//! The channel of an exchange: one sender, one receiver, bounded in bytes, between two threads that may have different priority.
//!
//! Nobody ever waits for the other thread inside a call: a slot belongs to the sender while it is empty and to the receiver while it is
//! full, so its lock is never contended; and the other side is woken after the slot has been handed over. (A channel that wakes while it
//! holds a lock would let a reactor wait behind a thread that gets no CPU, design section 2.)

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use arrow::array::{Array, RecordBatch};
use futures::task::AtomicWaker;

/// Batches that a channel holds at most.
const SLOTS: usize = 32;

/// Rings at a receiver, for all its channels.
#[derive(Default, Debug)]
pub struct Bell(AtomicWaker);

#[derive(Debug)]
struct Ring {
    slots: [Mutex<Option<(RecordBatch, usize)>>; SLOTS],
    /// Batches ever taken; written by the receiver.
    taken: AtomicUsize,
    /// Batches ever put; written by the sender.
    put: AtomicUsize,
    bytes: AtomicUsize,
    bytes_max: usize,
    sender_gone: AtomicBool,
    receiver_gone: AtomicBool,
    space: AtomicWaker,
    bell: Arc<Bell>,
}

impl Ring {
    fn slot(&self, number: usize) -> std::sync::MutexGuard<'_, Option<(RecordBatch, usize)>> {
        self.slots[number % SLOTS].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has_room(&self) -> bool {
        let waiting = self.put.load(Ordering::Relaxed) - self.taken.load(Ordering::SeqCst);
        waiting == 0 || (waiting < SLOTS && self.bytes.load(Ordering::SeqCst) < self.bytes_max)
    }
}

/// A channel whose receiver listens to `bell`.
pub fn channel(bytes_max: usize, bell: &Arc<Bell>) -> (Sender, Receiver) {
    let ring = Arc::new(Ring {
        slots: std::array::from_fn(|_| Mutex::new(None)),
        taken: AtomicUsize::new(0),
        put: AtomicUsize::new(0),
        bytes: AtomicUsize::new(0),
        bytes_max,
        sender_gone: AtomicBool::new(false),
        receiver_gone: AtomicBool::new(false),
        space: AtomicWaker::new(),
        bell: bell.clone(),
    });
    (Sender(ring.clone()), Receiver(ring))
}

/// The receiver is gone: it wants no more rows. No error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Closed;

/// Send side. Dropping it ends the stream.
#[derive(Debug)]
pub struct Sender(Arc<Ring>);

impl Sender {
    /// Waits while the channel is full.
    pub async fn send(&mut self, batch: RecordBatch) -> Result<(), Closed> {
        std::future::poll_fn(|cx| self.poll_room(cx)).await?;
        let ring = &self.0;
        let number = ring.put.load(Ordering::Relaxed);
        let bytes = bytes_of(&batch);
        ring.bytes.fetch_add(bytes, Ordering::SeqCst);
        *ring.slot(number) = Some((batch, bytes));
        ring.put.store(number + 1, Ordering::SeqCst);
        ring.bell.0.wake();
        Ok(())
    }

    fn poll_room(&self, cx: &mut Context<'_>) -> Poll<Result<(), Closed>> {
        // Registered first, looked second: a receiver that takes in between wakes us.
        for register in [false, true] {
            if register {
                self.0.space.register(cx.waker());
            }
            if self.is_closed() {
                return Poll::Ready(Err(Closed));
            }
            if self.0.has_room() {
                return Poll::Ready(Ok(()));
            }
        }
        Poll::Pending
    }

    /// Whether the receiver is gone.
    pub fn is_closed(&self) -> bool {
        self.0.receiver_gone.load(Ordering::SeqCst)
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.0.sender_gone.store(true, Ordering::SeqCst);
        self.0.bell.0.wake();
    }
}

/// Receive side. Dropping it tells the sender to stop.
#[derive(Debug)]
pub struct Receiver(Arc<Ring>);

enum Taken {
    Batch(RecordBatch),
    Nothing,
    End,
}

impl Receiver {
    fn take(&self) -> Taken {
        let ring = &self.0;
        // In this order: a sender that puts and goes in between has put first.
        let gone = ring.sender_gone.load(Ordering::SeqCst);
        let number = ring.taken.load(Ordering::Relaxed);
        if number == ring.put.load(Ordering::SeqCst) {
            return if gone { Taken::End } else { Taken::Nothing };
        }
        let taken = ring.slot(number).take();
        ring.taken.store(number + 1, Ordering::SeqCst);
        let Some((batch, bytes)) = taken else { return Taken::Nothing };
        ring.bytes.fetch_sub(bytes, Ordering::SeqCst);
        ring.space.wake();
        Taken::Batch(batch)
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.0.receiver_gone.store(true, Ordering::SeqCst);
        // What is in the channel is discarded here, on the receiver's thread.
        while let Taken::Batch(_) = self.take() {}
        self.0.space.wake();
    }
}

/// All channels that one receiver reads, in no order among them.
#[derive(Debug)]
pub struct Inlet {
    open: Vec<Receiver>,
    next: usize,
    bell: Arc<Bell>,
}

impl Inlet {
    /// `receivers` all ring `bell`.
    pub fn new(receivers: Vec<Receiver>, bell: Arc<Bell>) -> Inlet {
        Inlet { open: receivers, next: 0, bell }
    }

    /// The next batch of any sender; `None` when all are gone.
    pub async fn next(&mut self) -> Option<RecordBatch> {
        std::future::poll_fn(|cx| self.poll_next(cx)).await
    }

    /// As `next`.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<RecordBatch>> {
        for register in [false, true] {
            if register {
                self.bell.0.register(cx.waker());
            }
            if let Poll::Ready(taken) = self.look() {
                return Poll::Ready(taken);
            }
        }
        Poll::Pending
    }

    fn look(&mut self) -> Poll<Option<RecordBatch>> {
        let mut looked = 0;
        while looked < self.open.len() {
            let at = self.next % self.open.len();
            match self.open[at].take() {
                Taken::Batch(batch) => {
                    self.next = at + 1;
                    return Poll::Ready(Some(batch));
                }
                Taken::Nothing => {
                    self.next = at + 1;
                    looked += 1;
                }
                Taken::End => {
                    drop(self.open.remove(at));
                    looked = 0;
                }
            }
        }
        if self.open.is_empty() { Poll::Ready(None) } else { Poll::Pending }
    }
}

/// Bytes of the rows of a batch; a slice counts what it shows, not what it shares.
pub fn bytes_of(batch: &RecordBatch) -> usize {
    let column = |array: &Arc<dyn Array>| {
        array.to_data().get_slice_memory_size().unwrap_or_else(|_| array.get_array_memory_size())
    };
    batch.columns().iter().map(column).sum::<usize>().max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::Int64Array;
    use futures::FutureExt;
    use futures::executor::block_on;

    fn batch(values: std::ops::Range<i64>) -> RecordBatch {
        RecordBatch::try_from_iter([("v", Arc::new(Int64Array::from_iter_values(values)) as _)]).unwrap()
    }

    #[test]
    fn everything_arrives_in_order_between_threads() {
        let bell = Arc::new(Bell::default());
        let (mut sender, receiver) = channel(1000, &bell);
        let thread = std::thread::spawn(move || {
            block_on(async {
                for i in 0..10_000 {
                    sender.send(batch(i..i + 1)).await.unwrap();
                }
            });
        });
        let mut inlet = Inlet::new(vec![receiver], bell);
        for i in 0..10_000 {
            assert_eq!(block_on(inlet.next()), Some(batch(i..i + 1)));
        }
        assert_eq!(block_on(inlet.next()), None);
        thread.join().unwrap();
    }

    #[test]
    fn bytes_are_bounded_but_one_batch_always_fits() {
        let bell = Arc::new(Bell::default());
        let (mut sender, receiver) = channel(100, &bell);
        assert_eq!(sender.send(batch(0..1000)).now_or_never(), Some(Ok(())));
        assert_eq!(sender.send(batch(0..1)).now_or_never(), None);
        let mut inlet = Inlet::new(vec![receiver], bell);
        assert!(inlet.next().now_or_never().flatten().is_some());
        assert_eq!(sender.send(batch(0..1)).now_or_never(), Some(Ok(())));
    }

    #[test]
    fn a_closed_receiver_stops_a_waiting_sender() {
        let bell = Arc::new(Bell::default());
        let (mut sender, receiver) = channel(1, &bell);
        let thread = std::thread::spawn(move || {
            block_on(async { while sender.send(batch(0..100)).await.is_ok() {} });
        });
        std::thread::sleep(std::time::Duration::from_millis(20));
        drop(receiver);
        thread.join().unwrap();
    }
}
