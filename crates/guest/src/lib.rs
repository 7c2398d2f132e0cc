//! Detectors that users bring as WebAssembly components: loading, running and stopping them.
//!
//! Invariant: a component imports nothing, so all that it knows is what it was told; what it answers
//! is a function of that. It runs within the memory and the fuel that its table gives it. Whatever
//! it does, its host gets an answer that was checked, or a reason why there is none.

mod answer;
mod component;
mod library;
mod params;
mod wit;

pub use library::{Digest, FILE_BYTES_MAX, Library, LoadError};
