//! The reference system's thresholds file laid over the spoofing detector's parameters.
//!
//! Invariant: the file's three values replace the parameters of the same meaning, and nothing else.

use std::path::Path;

use tapewatch_connect::read_thresholds;
use tapewatch_detect::DetectConfig;

use crate::failure::Failure;

/// `config` with the thresholds of `file`.
pub(crate) fn with_file(mut config: DetectConfig, file: &Path) -> Result<DetectConfig, Failure> {
    let thresholds = read_thresholds(file).map_err(Failure::usage)?;
    for assignment in [
        format!("spoofing.cancel_quantity={}", thresholds.cancel_quantity),
        format!("spoofing.cancel_count={}", thresholds.cancel_count),
        format!("spoofing.lookback={}", thresholds.lookback),
    ] {
        config
            .set(&assignment)
            .map_err(|e| Failure::usage(format!("{}: {e}", file.display())))?;
    }
    Ok(config)
}
