//! A place for the newest item between a thread that receives and a control thread that must not wait.

use std::sync::{Mutex, PoisonError, TryLockError};

/// Holds one item, the newest. Neither side allocates: items are swapped.
#[derive(Debug)]
pub struct Mailbox<T> {
    slot: Mutex<Slot<T>>,
}

#[derive(Debug)]
struct Slot<T> {
    item: T,
    fresh: bool,
}

impl<T> Mailbox<T> {
    /// Empty; `item` is room for one.
    pub const fn new(item: T) -> Self {
        Self { slot: Mutex::new(Slot { item, fresh: false }) }
    }

    /// Puts an item in the place of the one that is there; gives back what was there in `item`. True when nobody had taken that.
    /// Waits for a reader that swaps, which is some nanoseconds.
    pub fn put(&self, item: &mut T) -> bool {
        let mut slot = self.slot.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::swap(&mut slot.item, item);
        std::mem::replace(&mut slot.fresh, true)
    }

    /// Takes the newest item, if there is one that was not taken yet. Never waits: while the other side puts one in, there is none.
    pub fn take(&self, item: &mut T) -> bool {
        let mut slot = match self.slot.try_lock() {
            Ok(slot) => slot,
            Err(TryLockError::Poisoned(slot)) => slot.into_inner(),
            Err(TryLockError::WouldBlock) => return false,
        };
        let fresh = std::mem::take(&mut slot.fresh);
        if fresh {
            std::mem::swap(&mut slot.item, item);
        }
        fresh
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_is_taken_once() {
        let mailbox = Mailbox::new(0);
        let mut read = -1;
        assert!(!mailbox.take(&mut read));
        assert!(!mailbox.put(&mut 1));
        assert!(mailbox.put(&mut 2), "1 was never read");
        assert!(mailbox.take(&mut read));
        assert_eq!(read, 2);
        assert!(!mailbox.take(&mut read) && read == 2);
    }
}
