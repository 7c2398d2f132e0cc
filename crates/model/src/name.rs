//! Names that live as long as the process: those of detectors and measures that users write.
//!
//! Invariant: a name is kept once, and at most [`NAMES_MAX`] of at most [`NAME_BYTES_MAX`] bytes are
//! kept (4 MiB), so that a hit can name what it found as cheaply as if the program knew it.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

/// Most bytes of a name.
pub const NAME_BYTES_MAX: usize = 64;
/// Most different names in one process.
const NAMES_MAX: usize = 65_536;

static NAMES: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());

/// `text` as a name for as long as the process lives; `None` when it is longer than
/// [`NAME_BYTES_MAX`] or there are too many names already.
#[must_use]
pub fn lasting_name(text: &str) -> Option<&'static str> {
    // A thread that panicked in between left the set whole: inserting is its only step.
    let mut names = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = names.get(text) {
        return Some(known);
    }
    if text.len() > NAME_BYTES_MAX || names.len() >= NAMES_MAX {
        return None;
    }
    let name: &'static str = Box::leak(text.to_owned().into_boxed_str());
    names.insert(name);
    Some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_kept_once() {
        let first = lasting_name("a_rule");
        let again = lasting_name(&["a", "rule"].join("_"));
        assert_eq!(first, Some("a_rule"));
        assert!(
            first
                .zip(again)
                .is_some_and(|(a, b)| std::ptr::eq(a.as_ptr(), b.as_ptr()))
        );
        assert_eq!(lasting_name(&"x".repeat(NAME_BYTES_MAX + 1)), None);
    }
}
