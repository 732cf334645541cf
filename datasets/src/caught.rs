//! Panics of decoders that are caught.
//!
//! Two of the libraries that read files panic on some hostile bytes. That is caught and becomes an error like any other; what Rust prints of a panic
//! before anybody catches it is for nobody, and a program that calls [`silence_caught_panics`] does not print it.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::Once;

thread_local! {
    /// How many calls of this thread are caught.
    static CAUGHT: Cell<usize> = const { Cell::new(0) };
}

/// Runs what may panic; `None` where it did.
pub(crate) fn caught<T>(run: impl FnOnce() -> T) -> Option<T> {
    CAUGHT.set(CAUGHT.get() + 1);
    let outcome = catch_unwind(AssertUnwindSafe(run));
    CAUGHT.set(CAUGHT.get().saturating_sub(1));
    outcome.ok()
}

/// From now on nothing is printed of panics that a decoder's caller catches; of all others, what was printed before. For the beginning of a
/// program: the hook is one for all threads.
pub fn silence_caught_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = take_hook();
        set_hook(Box::new(move |info| {
            if CAUGHT.get() == 0 {
                before(info);
            }
        }));
    });
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// Run by the test below in a process of its own: a hook is one for all threads.
    #[test]
    fn child_that_panics() {
        if std::env::var_os("SUREFOOT_CAUGHT_PANICS").is_none() {
            return;
        }
        silence_caught_panics();
        assert_eq!(caught(|| -> usize { panic!("nobody should read this") }), None);
        assert_eq!(caught(|| caught(|| panic!("nor this")).is_none()), Some(true));
        assert_eq!(caught(|| 3), Some(3));
        assert!(catch_unwind(|| panic!("this is somebody else's")).is_err());
    }

    #[test]
    fn a_caught_panic_is_not_printed_and_others_are() {
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["caught::tests::child_that_panics", "--exact", "--nocapture"])
            .env("SUREFOOT_CAUGHT_PANICS", "1")
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{text}");
        assert!(
            text.contains("this is somebody else's")
                && !text.contains("should read")
                && !text.contains("nor this"),
            "{text}"
        );
    }
}
