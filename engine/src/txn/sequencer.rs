//! The sequencer: hands out commit sequence numbers and moves W (R4, R5). One, on core 0; nothing here waits or fails.
//!
//! Numbers are dense. With each comes, per participating core, the number issued to it before (R4): the core applies in that order.
//! W moves to s when every number up to s is applied; only then are those who wait for s answered.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use starling_storage::ids::{CoreId, Seq};

use super::Watermark;
use crate::runtime::Reply;

/// A number and what must be applied before it, per participating core.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Numbered {
    pub seq: Seq,
    pub prev: Vec<(CoreId, Seq)>,
}

pub struct Sequencer {
    watermark: Watermark,
    state: RefCell<State>,
}

struct State {
    last: Seq,
    /// The last number issued to each core.
    issued: Vec<Seq>,
    /// Applied numbers above W.
    applied: BTreeSet<Seq>,
    waiting: BTreeMap<Seq, Vec<Reply<()>>>,
}

impl Sequencer {
    /// Goes on after `cut`: everything up to it is applied on every core.
    pub fn new(watermark: Watermark, cores: u16) -> Sequencer {
        let last = watermark.get();
        let issued = vec![last; usize::from(cores)];
        let state = State { last, issued, applied: BTreeSet::new(), waiting: BTreeMap::new() };
        Sequencer { watermark, state: RefCell::new(state) }
    }

    /// The next number. Whoever gets it must bring it to `applied`: W stands still until then (R2).
    pub fn number(&self, participants: &[CoreId]) -> Numbered {
        let mut state = self.state.borrow_mut();
        let seq = state.last.next();
        state.last = seq;
        let prev =
            participants.iter().map(|&core| (core, std::mem::replace(&mut state.issued[usize::from(core.0)], seq)));
        Numbered { seq, prev: prev.collect() }
    }

    /// `seq` is applied on all its cores. Moves W as far as it goes and answers those who wait.
    pub fn applied(&self, seq: Seq) {
        let mut state = self.state.borrow_mut();
        state.applied.insert(seq);
        let mut w = self.watermark.get();
        while state.applied.remove(&w.next()) {
            w = w.next();
        }
        self.watermark.set(w);
        let later = state.waiting.split_off(&w.next());
        let answered = std::mem::replace(&mut state.waiting, later);
        drop(state);
        answered.into_values().flatten().for_each(|reply| reply.send(()));
    }

    /// Answers when W >= `seq`.
    pub fn await_visible(&self, seq: Seq, reply: Reply<()>) {
        if self.watermark.get() >= seq {
            reply.send(());
        } else {
            self.state.borrow_mut().waiting.entry(seq).or_default().push(reply);
        }
    }

    /// Numbers issued and not yet visible.
    pub fn in_flight(&self) -> u64 {
        self.state.borrow().last.0 - self.watermark.get().0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::reply;
    use futures::FutureExt;

    #[test]
    fn numbers_are_dense_and_name_their_predecessors() {
        let sequencer = Sequencer::new(Watermark::new(Seq(7)), 2);
        let first = sequencer.number(&[CoreId(0)]);
        assert_eq!(first, Numbered { seq: Seq(8), prev: vec![(CoreId(0), Seq(7))] });
        let both = sequencer.number(&[CoreId(0), CoreId(1)]);
        assert_eq!(both, Numbered { seq: Seq(9), prev: vec![(CoreId(0), Seq(8)), (CoreId(1), Seq(7))] });
        assert_eq!(sequencer.number(&[CoreId(1)]).prev, vec![(CoreId(1), Seq(9))]);
        assert_eq!(sequencer.in_flight(), 3);
    }

    #[test]
    fn w_never_passes_a_gap() {
        let watermark = Watermark::new(Seq(0));
        let sequencer = Sequencer::new(watermark.clone(), 1);
        (0..3).for_each(|_| drop(sequencer.number(&[CoreId(0)])));
        let (answer, slot) = reply();
        sequencer.applied(Seq(2));
        sequencer.await_visible(Seq(2), answer);
        let mut waiting = Box::pin(slot.recv());
        assert_eq!((watermark.get(), waiting.as_mut().now_or_never()), (Seq(0), None));
        sequencer.applied(Seq(1));
        assert_eq!((watermark.get(), waiting.as_mut().now_or_never()), (Seq(2), Some(Ok(()))));
        sequencer.applied(Seq(3));
        assert_eq!(watermark.get(), Seq(3));
    }
}
