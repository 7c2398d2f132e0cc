//! The detection engine and its detectors: pure, deterministic, no I/O.
