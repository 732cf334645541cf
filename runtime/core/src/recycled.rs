//! A bounded queue between two threads whose items go round: what was received is given back and filled again.
//!
//! Neither end waits, locks or allocates once the queue is made, so either may be a control thread. When the other side is slow,
//! [`Sender::lend`] finds nothing free and counts a drop; when it is gone, items run out and nothing else happens.

use rtrb::{Consumer, Producer, RingBuffer};

/// The end that fills items.
#[derive(Debug)]
pub struct Sender<T> {
    full: Producer<T>,
    free: Consumer<T>,
    dropped: u64,
}

/// The end that reads them.
#[derive(Debug)]
pub struct Receiver<T> {
    full: Consumer<T>,
    free: Producer<T>,
}

/// A queue of `items` (at least one), each made by `make`.
#[must_use]
pub fn queue<T>(items: usize, mut make: impl FnMut() -> T) -> (Sender<T>, Receiver<T>) {
    let items = items.max(1);
    let (full_in, full_out) = RingBuffer::new(items);
    let (mut free_in, free_out) = RingBuffer::new(items);
    for _ in 0..items {
        // The ring holds exactly as many as are put in.
        let _ = free_in.push(make());
    }
    (Sender { full: full_in, free: free_out, dropped: 0 }, Receiver { full: full_out, free: free_in })
}

impl<T> Sender<T> {
    /// An item to fill and [`send`](Self::send); `None`, and one more drop, when all are with the other side.
    pub fn lend(&mut self) -> Option<T> {
        let item = self.free.pop().ok();
        self.dropped += u64::from(item.is_none());
        item
    }
    /// Hands a lent item over.
    pub fn send(&mut self, item: T) {
        // There are never more items than places.
        let _ = self.full.push(item);
    }
    /// Times that nothing was free.
    #[must_use]
    pub const fn dropped(&self) -> u64 {
        self.dropped
    }
    /// Whether the other side is gone.
    #[must_use]
    pub fn is_abandoned(&self) -> bool {
        self.full.is_abandoned()
    }
}

impl<T> Receiver<T> {
    /// The oldest item that was sent.
    pub fn receive(&mut self) -> Option<T> {
        self.full.pop().ok()
    }
    /// Gives an item back for another round.
    pub fn give_back(&mut self, item: T) {
        let _ = self.free.push(item);
    }
    /// Whether the other side is gone and everything it sent was received.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        // Asked in this order: what was sent before leaving is still to be received.
        self.full.is_abandoned() && self.full.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_go_round_and_a_slow_reader_costs_drops_and_no_memory() {
        let (mut sender, mut receiver) = queue(2, || vec![0_u8; 4]);
        for value in 0..4_u8 {
            if let Some(mut item) = sender.lend() {
                item[0] = value;
                sender.send(item);
            }
        }
        assert_eq!(sender.dropped(), 2);
        let first = receiver.receive().unwrap();
        assert_eq!(first[0], 0);
        receiver.give_back(first);
        assert!(sender.lend().is_some() && sender.lend().is_none());
        drop(sender);
        assert!(!receiver.is_finished());
        assert_eq!(receiver.receive().unwrap()[0], 1);
        assert!(receiver.is_finished());
    }
}
